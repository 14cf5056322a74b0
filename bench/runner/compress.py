"""Runs one compressor and saves what it made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from bench.config.data import required_audio
from bench.config.run import RunConfig
from bench.contracts import Context
from bench.errors import UserError
from bench.profiling import model_card
from bench.provenance import now, versions
from bench.runner import checks
from bench.store.files import write_atomically
from bench.upstream import UpstreamModel, load_upstream
from bench.upstream.checkpoint import read_manifest, save_upstream, weights_hash

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
    provenance = _provenance(config, name, teacher)
    for model, upstream in upstreams.items():
        if model != name and not model.startswith(f"{name}-"):
            raise UserError(
                f"The compressor {name} made a model {model!r}. Expected {name!r} or a name beginning {name}-."
            )
        beside = workdir / "beside" / model
        folder = model_folder(model)
        # An interruption may have come between the models and the note that they are finished.
        shutil.rmtree(folder, ignore_errors=True)
        save_upstream(upstream.cpu(), folder, provenance, beside=sorted(beside.iterdir()) if beside.is_dir() else [])
    return list(upstreams)


def compress_into(config: RunConfig, name: str, out: Path, device: Literal["cpu", "cuda"]) -> list[dict[str, Any]]:
    """Make ``bench compress``'s model folder, or say what is there if it was made before.

    Returns:
        One row a model: path, params, sparsity, macs.

    Raises:
        UserError: ``out`` holds something else, or a model of another configuration.
    """
    teacher = checks.compressible(load_upstream(config.teacher or ""), config.teacher)
    workdir = out.with_name(f".{out.name}.work")
    signature = json.dumps(config.model_dump(mode="json"), sort_keys=True, indent=1)
    models = _made_before(config, name, out)
    if models is None:
        _claim(workdir, signature, out)
        checks.check_disk(out, teacher)
        checks.prepare_data(config.data)
        checks.check_compressors(config, teacher, compression_context(device))
        names = compress(config, name, teacher, workdir, device, lambda model: out if model == name else out / model)
        models = [out if model == name else out / model for model in names]
        shutil.rmtree(workdir)
    return [_row(path, teacher) for path in models]


def _made_before(config: RunConfig, name: str, out: Path) -> list[Path] | None:
    if not out.exists() or out.with_name(f".{out.name}.work").exists():
        return None
    models = [path.parent for path in sorted({*out.glob("config.json"), *out.glob("*/config.json")})]
    if not models:
        raise UserError(f"--out {out} exists and is no model. Choose another folder, or delete it.")
    for model in models:
        there = read_manifest(model).provenance
        wanted = {"compressor": name, "teacher": config.teacher, "recipe": config.models[name].settings}
        different = [key for key, value in wanted.items() if there.get(key) != value]
        if different:
            raise UserError(
                f"--out {out} holds another model (its {different[0]} differs). Choose another --out, or delete it."
            )
    return models


def _claim(workdir: Path, signature: str, out: Path) -> None:
    path = workdir / "config.json"
    if path.is_file() and path.read_text(encoding="utf-8") != signature:
        raise UserError(
            f"{workdir} holds an unfinished compression with another configuration. "
            f"Finish it with its own options, delete it, or choose another --out than {out}."
        )
    write_atomically(path, signature)


def _row(path: Path, teacher: UpstreamModel) -> dict[str, Any]:
    card = model_card(load_upstream(path), read_manifest(path).provenance, teacher)
    return {
        "model": str(path),
        "params": card.params,
        "sparsity": round(card.sparsity or 0.0, 4),
        "macs": card.macs,
    }


def _provenance(config: RunConfig, name: str, teacher: UpstreamModel) -> dict[str, Any]:
    return {
        "compressor": name,
        "teacher": config.teacher,
        "teacher_weights_hash": weights_hash(teacher),
        "recipe": config.models[name].settings,
        "preset": config.preset,
        "seed": COMPRESSION_SEED,
        "data": {"name": config.data.identity, "audio": required_audio(config.data).model_dump(mode="json")},
        "versions": versions(),
        "finished": now(),
    }
