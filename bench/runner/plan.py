"""What a run consists of, what of it is done, and whether its folder may be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.config.run import RunConfig
from bench.errors import UserError
from bench.store.records import Cell
from bench.store.run_folder import RunFolder


@dataclass(frozen=True)
class Step:
    """One line of the plan."""

    what: str
    """``compress`` or ``evaluate``."""
    subject: str
    """The compressor, or the cell."""
    done: bool
    """Whether its result is already there."""


def join_run(folder: RunFolder, config: RunConfig) -> dict[str, Any]:
    """Check that a run may use its folder, and say what its ``config.yaml`` shall hold.

    A folder takes further models, tasks and seeds; everything that both configurations name must agree.

    Raises:
        UserError: the folder holds a run with another configuration.
    """
    values = config.model_dump(mode="json")
    there = folder.read_config()
    if there is None:
        return values
    difference = _first_difference(there, values)
    if difference:
        raise UserError(
            f"--out {folder.path} holds a run with another configuration ({difference}). "
            "Choose another --out, or delete that folder."
        )
    merged = {**there, **values}
    for key in ("models", "tasks"):
        merged[key] = {**there.get(key, {}), **values[key]}
    merged["data"] = {**values["data"], "tasks": {**there["data"]["tasks"], **values["data"]["tasks"]}}
    merged["seeds"] = sorted({*there.get("seeds", []), *values["seeds"]})
    return merged


def _first_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    # Told at the end of the run, see `audio_differences`.
    extendable = {"seeds", "data.audio_sha256"}
    growing = {"models", "tasks", "data.tasks"}
    return _difference(there, here, "", extendable, growing)


def _difference(there: Any, here: Any, name: str, extendable: set[str], growing: set[str]) -> str:
    if name in extendable or there == here:
        return ""
    if not (isinstance(there, Mapping) and isinstance(here, Mapping)):
        return f"{name}: {there!r} there, {here!r} here"
    keys = there.keys() & here.keys() if name in growing else sorted(there.keys() | here.keys())
    for key in sorted(keys):
        inner = f"{name}.{key}" if name else str(key)
        found = _difference(there.get(key), here.get(key), inner, extendable, growing)
        if found:
            return found
    return ""


def plan(folder: RunFolder, config: RunConfig) -> list[Step]:
    """List all steps in the order they run."""
    steps = []
    models = [name for name, source in config.models.items() if source.reference]
    for name in config.compressors():
        finished = folder.finished_compression(name)
        steps.append(Step("compress", name, done=finished is not None))
        models += finished.models if finished else (name,)
    for cell in cells(models, config):
        steps.append(Step("evaluate", str(cell), done=folder.records.path(cell).is_file()))
    return steps


def cells(models: list[str] | tuple[str, ...], config: RunConfig) -> list[Cell]:
    """Every model with every task and seed."""
    return [
        Cell(model=model, task=task, seed=seed) for model in models for task in config.tasks for seed in config.seeds
    ]
