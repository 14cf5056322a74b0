"""Runs one compression: calls the compressor and saves its models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bench import registry
from bench.audio.files import hours
from bench.audio.sources import source_files, source_sha256
from bench.config.compatibility import AUDIO_SHA256, difference_of_models
from bench.config.data import required_audio
from bench.config.run import RunConfig
from bench.contracts import AudioSource, Context, WarmStart
from bench.errors import UserError
from bench.files.atomic import hide, remove_folder
from bench.profiling import model_card
from bench.profiling.machine import this_machine
from bench.provenance import now, versions
from bench.runs import checks
from bench.runs.time_spent import noting_time, time_spent
from bench.runs.warm_start import load_start
from bench.runs.work import Compress
from bench.stacking import PartsMade, Stack, part_names, what_differs
from bench.store.claims import OUT_REMEDY, claimed, require_locks
from bench.upstream import UpstreamModel, load_upstream
from bench.upstream.checkpoint import (
    is_suite_folder,
    load_folder,
    read_manifest,
    remove_killed_saves,
    save_upstream,
    weights_hash,
)

logger = logging.getLogger(__name__)


def compress(
    config: RunConfig,
    item: Compress,
    teacher: UpstreamModel,
    workdir: Path,
    device: Literal["cpu", "cuda"],
    model_folder: Callable[[str], Path],
    start: WarmStart | None = None,
    made: PartsMade | None = None,
) -> list[str]:
    """Run a compressor and save its models.

    Args:
        config: the run's configuration.
        item: which of its compressions.
        teacher: the model to compress.
        workdir: for checkpoints; an interrupted call resumes in the same folder.
        device: ``cpu`` or ``cuda``.
        model_folder: returns the folder of a row's model.
        start: the model that compression starts from.
        made: existing models of a stack's leading parts.

    Returns:
        The rows of its models.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    audio = required_audio(config.data)
    context = Context(
        seed=item.seed,
        device=device,
        devices=config.devices,
        start=start,
        task_losses=checks.task_losses(config, item.row),
    )
    compressor = config.row(item.row).make_compressor()
    begins_with = {}
    if isinstance(compressor, Stack) and made and made.folders:
        compressor = compressor.beginning_with(made)
        begins_with = {"begins_with": [folder.name for folder in made.folders.values()]}
    with noting_time(workdir):
        upstreams = compressor.compress(teacher, audio, workdir, context)
    own_identity = identity(config, item, teacher, start)
    name = config.models[item.row].compressor or ""
    provenance = {
        **own_identity,
        "methods": {part: registry.load("bench.compressors", part).summary for part in part_names(name)},
        "audio_hours": _audio_hours(audio),
        "versions": versions(),
        "numerics": dict(compressor.numerics(context)),
        "machine": this_machine().model_dump(mode="json", exclude_none=True),
        "finished": now(),
        **begins_with,
        **time_spent(workdir),
    }
    targets = compressor.target_sparsities()
    rows = []
    for called, upstream in upstreams.items():
        beside = workdir / "beside" / called
        model = item.row + what_differs(name, called)
        rows.append(model)
        folder = model_folder(model)
        if _make_way(folder, own_identity):
            continue
        target = {"target_sparsity": targets[called]} if targets.get(called) is not None else {}
        files = sorted(beside.iterdir()) if beside.is_dir() else []
        save_upstream(upstream.cpu(), folder, {**provenance, **target}, beside=files)
    return rows


def _make_way(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Remove what an interrupted call or damage has left in a model's place.

    Args:
        folder: of the model.
        wanted: its identity.

    Returns:
        Whether this very model is already there and complete. In that case another size, or the list of models, was
        lost.
    """
    remove_killed_saves(folder)
    if not folder.exists():
        return False
    if not is_suite_folder(folder):
        logger.warning("%s is incomplete. It is set aside as %s, and made again.", folder, hide(folder))
        return False
    try:
        load_folder(folder)
        is_it = not differences(folder, wanted)
    except UserError as error:
        logger.warning("%s is damaged and is made again: %s", folder, error)
        is_it = False
    if not is_it:
        remove_folder(folder)
    return is_it


def compress_into(config: RunConfig, name: str, out: Path, device: Literal["cpu", "cuda"]) -> list[dict[str, Any]]:
    """Make the model folder of ``bench compress``, unless it already exists.

    Returns:
        One row per model: path, params, sparsity, macs.

    Raises:
        UserError: ``out`` holds something else, or a model of another configuration.
    """
    out = out.resolve()
    teacher = checks.compressible(load_upstream(config.teacher or ""), config.teacher)
    start = load_start(config)
    workdir = out.with_name(f".{out.name}.work")
    item = Compress(name, config.models[name].compressor or "")
    require_locks(out.parent, OUT_REMEDY)
    with claimed(out.with_name(f".{out.name}.lock"), wait=True):
        models = _models_there(out, identity(config, item, teacher, start))
        if not models or workdir.exists():
            checks.check_disk(out, teacher)
            checks.prepare_data(config.data)
            checks.check_compressors(config, teacher, Context(device=device, devices=config.devices, start=start))
            folder_of = partial(_model_folder, out, name)
            made = compress(config, item, teacher, workdir, device, folder_of, start)
            models = [_model_folder(out, name, model) for model in made]
            remove_folder(workdir)
    return [_row(path) for path in models]


def _model_folder(out: Path, name: str, model: str) -> Path:
    return out if model == name else out / model


def _audio_hours(audio: AudioSource) -> float:
    return audio.hours or hours(source_files(audio))


def _models_there(out: Path, wanted: dict[str, Any]) -> list[Path]:
    if not out.exists():
        return []
    models = [folder for folder in (out, *sorted(out.iterdir())) if is_suite_folder(folder)] if out.is_dir() else []
    if not models:
        raise UserError(f"--out {out} exists and is no model. Choose another folder, or delete it.")
    for model in models:
        different = differences(model, wanted)
        if different:
            raise UserError(
                f"--out {out} holds another model (its {different[0]} differs). Choose another --out, or delete it."
            )
    return models


def _row(path: Path) -> dict[str, Any]:
    card = model_card(load_upstream(path), read_manifest(path).provenance)
    return {"model": str(path), "params": card.params, "sparsity": round(card.sparsity or 0.0, 4), "macs": card.macs}


def differences(model: Path, wanted: Mapping[str, Any]) -> list[str]:
    """Return the first setting in which a model's folder differs from `identity`; empty if none does."""
    found = difference_of_models(read_manifest(model).provenance, wanted)
    return [found.name] if found else []


def identity(config: RunConfig, item: Compress, teacher: UpstreamModel, start: WarmStart | None) -> dict[str, Any]:
    """Return everything that a compressed model depends on."""
    learned = checks.learned_data_sha256(config, item.row)
    return {
        "compressor": config.models[item.row].compressor,
        "teacher": config.teacher,
        "teacher_weights_hash": weights_hash(teacher),
        "teacher_params": model_card(teacher, {}).params,
        "from": start and {"reference": config.start, "weights_hash": weights_hash(start.model)},
        "recipe": config.models[item.row].settings,
        "preset": config.preset,
        "seed": item.seed,
        "data": {"name": config.data.identity, "audio": required_audio(config.data).model_dump(mode="json")},
        # The version of embedded corpora identifies their content.
        **({"learned_data_sha256": learned} if learned else {}),
        **({} if config.data.embedded else {AUDIO_SHA256: source_sha256(required_audio(config.data))}),
    }
