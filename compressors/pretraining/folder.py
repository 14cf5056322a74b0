"""The result of ``bench pretrain``: a model folder that every command accepts as a model reference."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bench.config.data import describe_data, embedded, required_audio
from bench.config.overrides import nested, parse_overrides, validated
from bench.contracts import Context, Data
from bench.errors import UserError
from bench.provenance import now, versions
from bench.registry import nearest
from bench.store.claims import OUT_REMEDY, claimed, require_locks
from bench.upstream.checkpoint import is_suite_folder, read_manifest, save_upstream
from compressors.pretraining.config import PRESETS, PretrainingConfig
from compressors.pretraining.recipe import Pretraining
from compressors.training.several_devices import require_devices

DATA_PREFIX = "data."


def pretrain_into(
    out: Path,
    preset: str,
    data: str,
    assignments: Sequence[str],
    *,
    seed: int,
    device: Literal["cpu", "cuda"],
    devices: int = 1,
) -> list[dict[str, Any]]:
    """Make the model folder, unless it exists already, and return its figures.

    Args:
        out: the folder.
        preset: ``mini``, ``base`` or ``smoke``.
        data: as after ``--data``.
        assignments: as after ``--set``.
        seed: seed of everything random.
        device: where to train.
        devices: number of devices, with one process each.

    Returns:
        Held-out figures, one row per iteration and prediction; see `evaluation.held_out_figures`.

    Raises:
        UserError: a wrong setting, too many devices, unusable audio, a folder with other content, or a training that
            diverges.
    """
    overrides = parse_overrides(assignments)
    config = resolved(preset, {key: value for key, value in overrides.items() if not key.startswith(DATA_PREFIX)})
    context = Context(seed=seed, device=device, devices=devices)
    require_devices(config, context)
    data_changes = {
        key.removeprefix(DATA_PREFIX): value for key, value in overrides.items() if key.startswith(DATA_PREFIX)
    }
    chosen = describe_data(data, data_changes, {})
    identity = {"preset": preset, "recipe": config.model_dump(mode="json"), "seed": seed, "data": _identity(chosen)}
    out = out.resolve()
    workdir = out.with_name(f".{out.name}.work")
    require_locks(out.parent, OUT_REMEDY)
    with claimed(out.with_name(f".{out.name}.lock"), wait=True):
        if not _is_there(out, identity):
            if chosen.embedded:
                embedded(chosen.embedded).prepare(())
            pretraining = Pretraining(config, required_audio(chosen), workdir, context)
            model = pretraining.run()
            provenance = {**pretraining.provenance(), **identity, "versions": versions(), "finished": now()}
            save_upstream(model, out, provenance, beside=sorted(pretraining.beside.iterdir()))
        shutil.rmtree(workdir, ignore_errors=True)
    figures = read_manifest(out).provenance["held_out"]
    return [{"iteration": iteration, **row} for iteration, rows in figures.items() for row in rows]


def resolved(preset: str, changes: Mapping[str, Any]) -> PretrainingConfig:
    """Return a preset with changes.

    Raises:
        UserError: no such preset, an unknown key, a wrong value.
    """
    if preset not in PRESETS:
        raise UserError(f"Unknown preset {preset!r} of `bench pretrain`. {nearest(preset, PRESETS)}")
    values = nested(changes, PRESETS[preset].model_dump(mode="json"))
    return validated(PretrainingConfig, values, f"bench pretrain, preset {preset}")


def _identity(data: Data) -> dict[str, Any]:
    return {"name": data.identity, "audio": required_audio(data).model_dump(mode="json")}


def _is_there(out: Path, identity: Mapping[str, Any]) -> bool:
    if not out.exists():
        return False
    if not is_suite_folder(out):
        raise UserError(f"--out {out} exists and is not a model. Choose another folder, or delete it.")
    there = read_manifest(out).provenance
    different = [key for key, value in identity.items() if there.get(key) != value]
    if different:
        raise UserError(
            f"--out {out} holds another model (its {different[0]} differs). Choose another --out, or delete it."
        )
    return True
