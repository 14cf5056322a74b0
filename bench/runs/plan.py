"""What a run consists of, what of it is done, and whether its folder may be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.config.compatibility import first_difference
from bench.config.overrides import validated
from bench.config.run import ModelSource, RunConfig
from bench.errors import UserError
from bench.stacking import compressor_type, part_names, what_differs
from bench.store.records import Cell
from bench.store.run_folder import RunFolder

COMPRESSION_SEED = 0
"""Where ``--seeds`` are those of the downstream heads alone."""


@dataclass(frozen=True)
class Compression:
    """One call of a compressor."""

    row: str
    """Of the leaderboard; further models of the same call are rows named ``<row>-<what differs>``."""
    seed: int = COMPRESSION_SEED
    suffix: str = ""
    """Of the folders of its models, where other seeds compress for the same rows."""

    @property
    def name(self) -> str:
        """In files and messages."""
        return self.row + self.suffix


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a row of the leaderboard, or a part of one where seeds have weights of their own."""

    model: str
    """Name of the row."""
    weights: str
    """Name of the folder in ``models``; the row's where it is a reference."""
    seeds: tuple[int, ...]
    """Of the downstream heads."""


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
        UserError: the folder holds a run with another configuration, or two models would have one name.
    """
    values = config.model_dump(mode="json")
    there = folder.read_config()
    _require_different_names(folder, config, there or {})
    if there is None:
        return values
    difference = first_difference(there, values)
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


def _require_different_names(folder: RunFolder, config: RunConfig, there: Mapping[str, Any]) -> None:
    owners: dict[str, str] = {}
    earlier = [row for row in there.get("models", {}) if row not in config.models]
    for row in (*config.models, *earlier):
        for name in _names_of(row, folder, config):
            if name in owners:
                raise UserError(
                    f"Two models of --out {folder.path} would be called {name!r}, of the rows {owners[name]} and "
                    f"{row}. Rename one: a row as NAME=COMPRESSOR, a model evaluated as it is by its folder."
                )
            owners[name] = row


def _names_of(row: str, folder: RunFolder, config: RunConfig) -> Sequence[str]:
    """List the models of a row, which may be several, named after it; of rows of earlier calls those that are there."""
    finished = folder.finished_compression(row)
    if finished:
        return finished.models
    return rows_to_come(config, Compression(row)) if row in config.compressors() else [row]


def rows_there(folder: RunFolder) -> dict[str, ModelSource]:
    """Read the rows that earlier calls have compressed, or begun to."""
    models = (folder.read_config() or {}).get("models", {})
    there = {row: validated(ModelSource, values, f"{folder.config_path}: {row}") for row, values in models.items()}
    return {row: source for row, source in there.items() if source.compressor}


def compressions(config: RunConfig) -> list[Compression]:
    """List the calls of compressors; stacks after their parts, of which they then take the models."""
    sources = config.compressors()
    rows = sorted(sources, key=lambda row: len(part_names(sources[row].compressor or "")))
    if config.training_budget is None:
        return [Compression(row) for row in rows]
    return [Compression(row, seed, f"-seed{seed}") for row in rows for seed in config.seeds]


def references(config: RunConfig) -> list[Subject]:
    """List the models that are evaluated as they are."""
    return [Subject(name, name, config.seeds) for name, source in config.models.items() if source.reference]


def compressed(config: RunConfig, compression: Compression, models: Sequence[str]) -> list[Subject]:
    """List what a compression has made, or will make.

    Args:
        config: of the run.
        compression: which.
        models: its rows.
    """
    seeds = (compression.seed,) if config.training_budget else config.seeds
    return [Subject(model, model + compression.suffix, seeds) for model in models]


def made_of(folder: RunFolder, config: RunConfig, compression: Compression) -> list[Subject]:
    """List what a compression has made; nothing where it is not finished, or a model's folder is gone or incomplete.

    Raises:
        UserError: its list of models is damaged.
    """
    finished = folder.finished_compression(compression.name)
    if finished is None or folder.lost_models(compression.name, compression.suffix):
        return []
    return compressed(config, compression, finished.models)


def rows_to_come(config: RunConfig, compression: Compression) -> list[str]:
    """List the rows of a compression that is not finished."""
    source = config.models[compression.row]
    plugin = compressor_type(source.compressor or "")
    targets = plugin(plugin.config_type.model_validate(source.settings)).target_sparsities()
    return [compression.row + what_differs(plugin.name, model) for model in targets]


def plan(folder: RunFolder, config: RunConfig) -> list[Step]:
    """List all steps in the order they run."""
    steps = []
    subjects = references(config)
    for compression in compressions(config):
        made = made_of(folder, config, compression)
        steps.append(Step("compress", compression.name, done=bool(made)))
        subjects += made or compressed(config, compression, rows_to_come(config, compression))
    for subject in subjects:
        for cell in cells(subject, config):
            steps.append(Step("evaluate", str(cell), done=folder.records.path(cell).is_file()))
    return steps


def cells(subject: Subject, config: RunConfig) -> list[Cell]:
    """Combine a subject with every task and its seeds."""
    return [Cell(model=subject.model, task=task, seed=seed) for task in config.tasks for seed in subject.seeds]
