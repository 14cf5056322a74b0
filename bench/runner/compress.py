"""Runs one compressor and saves what it made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bench.config.data import required_audio
from bench.config.run import RunConfig
from bench.contracts import Context
from bench.errors import UserError
from bench.profiling import model_card
from bench.provenance import now, versions
from bench.runner import checks
from bench.store.claims import claimed
from bench.upstream import UpstreamModel, load_upstream
from bench.upstream.checkpoint import is_suite_folder, read_manifest, save_upstream, weights_hash

COMPRESSION_SEED = 0


def compression_context(device: Literal["cpu", "cuda"]) -> Context:
    """Say where and with which seed a run compresses; ``--seeds`` are those of the downstream heads."""
    return Context(seed=COMPRESSION_SEED, device=device)


def compress(
    config: RunConfig,
    name: str,
    teacher: UpstreamModel,
    workdir: Path,
    device: Literal["cpu", "cuda"],
    model_folder: Callable[[str], Path],
) -> list[str]:
    """Run a compressor and save its models.

    Args:
        config: the run's configuration.
        name: of the compressor.
        teacher: what to compress.
        workdir: for checkpoints; the same one goes on where an earlier call stopped.
        device: ``cpu`` or ``cuda``.
        model_folder: where a model of a given name belongs.

    Returns:
        The names of its models.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    audio = required_audio(config.data)
    upstreams = checks.compressor(config, name).compress(teacher, audio, workdir, compression_context(device))
    provenance = {**_identity(config, name, teacher), "versions": versions(), "finished": now()}
    for model, upstream in upstreams.items():
        if model != name and not model.startswith(f"{name}-"):
            raise UserError(
                f"The compressor {name} made a model {model!r}. Expected {name!r} or a name beginning {name}-."
            )
        beside = workdir / "beside" / model
        folder = model_folder(model)
        if is_suite_folder(folder):
            # An interruption came between the models and the note that all of them are there.
            shutil.rmtree(folder)
        save_upstream(upstream.cpu(), folder, provenance, beside=sorted(beside.iterdir()) if beside.is_dir() else [])
    return list(upstreams)


def compress_into(config: RunConfig, name: str, out: Path, device: Literal["cpu", "cuda"]) -> list[dict[str, Any]]:
    """Make ``bench compress``'s model folder, or say what is there if it was made before.

    Returns:
        One row a model: path, params, sparsity, macs.

    Raises:
        UserError: ``out`` holds something else, or a model of another configuration.
    """
    out = out.resolve()
    teacher = checks.compressible(load_upstream(config.teacher or ""), config.teacher)
    workdir = out.with_name(f".{out.name}.work")
    with claimed(out.with_name(f".{out.name}.lock"), wait=True):
        models = _models_there(out, _identity(config, name, teacher))
        if not models or workdir.exists():
            checks.check_disk(out, teacher)
            checks.prepare_data(config.data)
            checks.check_compressors(config, teacher, compression_context(device))
            made = compress(config, name, teacher, workdir, device, partial(_model_folder, out, name))
            models = [_model_folder(out, name, model) for model in made]
            shutil.rmtree(workdir)
    return [_row(path) for path in models]


def _model_folder(out: Path, name: str, model: str) -> Path:
    return out if model == name else out / model


def _models_there(out: Path, identity: dict[str, Any]) -> list[Path]:
    if not out.exists():
        return []
    models = [folder for folder in (out, *sorted(out.iterdir())) if is_suite_folder(folder)] if out.is_dir() else []
    if not models:
        raise UserError(f"--out {out} exists and is no model. Choose another folder, or delete it.")
    for model in models:
        there = read_manifest(model).provenance
        different = [key for key, value in identity.items() if there.get(key) != value]
        if different:
            raise UserError(
                f"--out {out} holds another model (its {different[0]} differs). Choose another --out, or delete it."
            )
    return models


def _row(path: Path) -> dict[str, Any]:
    card = model_card(load_upstream(path), read_manifest(path).provenance)
    return {"model": str(path), "params": card.params, "sparsity": round(card.sparsity or 0.0, 4), "macs": card.macs}


def _identity(config: RunConfig, name: str, teacher: UpstreamModel) -> dict[str, Any]:
    """Say all that a compressed model depends on."""
    return {
        "compressor": name,
        "teacher": config.teacher,
        "teacher_weights_hash": weights_hash(teacher),
        "teacher_params": model_card(teacher, {}).params,
        "recipe": config.models[name].settings,
        "preset": config.preset,
        "seed": COMPRESSION_SEED,
        "data": {"name": config.data.identity, "audio": required_audio(config.data).model_dump(mode="json")},
    }
