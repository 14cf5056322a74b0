"""The work list: every item of a run, what it needs, where its result is stored, and which lock is its claim."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.config.run import ModelSource, RunConfig
from bench.runs.parts import rows_of_leading_parts
from bench.runs.rows import rows_there, rows_to_come
from bench.stacking import part_names
from bench.store.compressions import seed_suffix
from bench.store.records import Cell
from bench.store.run_folder import COMPRESS, LOAD, RunFolder

COMPRESSION_SEED = 0
"""Seed of every compression outside sweeps. There, ``--seeds`` are the seeds of the downstream heads."""


@dataclass(frozen=True)
class Compress:
    """One call of a compressor. Its result is one model, or several of different sizes."""

    row: str
    """Row of the leaderboard; of several models, each has a row named ``<row>-<what differs>``."""
    compressor: str
    """Name of the compressor, or of a stack."""
    seed: int = COMPRESSION_SEED
    suffix: str = ""
    """What the names of its models' folders add to the rows' names: in a sweep, every seed has its own models."""
    part: Compress | None = None
    """The item that makes the leading part of this stack; None if the stack makes all parts itself."""
    step: ClassVar[str] = COMPRESS

    @property
    def name(self) -> str:
        """Name in files and messages."""
        return self.row + self.suffix

    @property
    def subject(self) -> str:
        """What is compressed, as plans name it."""
        return self.name

    @property
    def label(self) -> str:
        """Name of the item in messages, and of its lock."""
        return f"{COMPRESS} {self.name}"

    @property
    def needs(self) -> tuple[Compress, ...]:
        """Items that must be done before."""
        return (self.part,) if self.part else ()

    @property
    def notes(self) -> Mapping[str, str]:
        """The steps that can fail: label to the name of the note, see `RunFolder.failure_path`."""
        return {self.label: self.label}

    def models(self, folder: RunFolder) -> Sequence[str]:
        """List the rows that it has made; none if it is not finished, or if a model is gone or incomplete.

        Raises:
            UserError: its list of models is damaged.
        """
        finished = folder.finished_compression(self.name, self.suffix)
        return () if finished is None or folder.lost_models(self.name, self.suffix) else finished.models

    def is_done(self, folder: RunFolder) -> bool:
        """Whether its result is stored."""
        return bool(self.models(folder))


@dataclass(frozen=True)
class Model:
    """A model that is evaluated: a row, or the part of a row whose seeds share weights."""

    row: str
    weights: str
    """Name of its folder in ``models``; the row's name for a model evaluated as it is."""
    seeds: tuple[int, ...]
    """Seeds of the downstream heads."""
    made_by: Compress | None = None
    """The item that makes it."""

    @property
    def load_label(self) -> str:
        """Name of the step that loads it, in messages and as a note."""
        return f"{LOAD} {self.weights}"


@dataclass(frozen=True)
class Evaluate:
    """One cell: a model evaluated on a task with one seed of the downstream head."""

    model: Model
    task: str
    seed: int
    step: ClassVar[str] = "evaluate"

    @property
    def cell(self) -> Cell:
        """Key of its record."""
        return Cell(model=self.model.row, task=self.task, seed=self.seed)

    @property
    def subject(self) -> str:
        """What is evaluated, as plans name it."""
        return str(self.cell)

    @property
    def label(self) -> str:
        """Name of the item in messages, and of its lock."""
        return str(self.cell)

    @property
    def needs(self) -> tuple[Compress, ...]:
        """Items that must be done before."""
        return (self.model.made_by,) if self.model.made_by else ()

    @property
    def notes(self) -> Mapping[str, str]:
        """The steps that can fail: label to the name of the note, see `RunFolder.failure_path`."""
        return {self.model.load_label: self.model.load_label, self.label: self.cell.stem()}

    def is_done(self, folder: RunFolder) -> bool:
        """Whether its result is stored."""
        return folder.records.path(self.cell).is_file()


Item = Compress | Evaluate


class WorkList:
    """All items of a run.

    Args:
        folder: of the run.
        config: of the run.
        only: labels of the items to list. None: all.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, only: Collection[str] | None = None) -> None:
        self.folder = folder
        self.config = config
        self._only = only
        self.compressions = compressions(folder, config)

    def items(self) -> list[Item]:
        """List the items; every item comes after those that it needs."""
        items: list[Item] = [*self.compressions, *(item for model in self.models() for item in self.cells(model))]
        return [item for item in items if self._only is None or item.label in self._only]

    def models(self) -> list[Model]:
        """List the models to evaluate: first those given by reference, then those that compression makes."""
        made = [model for item in self.compressions for model in self.models_of(item)]
        return [*references(self.config), *made]

    def models_of(self, item: Compress) -> list[Model]:
        """List the models that a compression has made, or will make."""
        rows = item.models(self.folder) or rows_to_come(self.config, item.row)
        seeds = (item.seed,) if self.config.training_budget else self.config.seeds
        return [Model(row, row + item.suffix, seeds, item) for row in rows]

    def cells(self, model: Model) -> list[Evaluate]:
        """Combine a model with the tasks and seeds that it was asked for with."""
        row = model.made_by.row if model.made_by else model.row
        return [
            Evaluate(model, task, seed)
            for task in self.config.tasks
            for seed in model.seeds
            if self.config.asks_for(row, seed, task)
        ]


def references(config: RunConfig) -> list[Model]:
    """List the models given by reference, which are evaluated as they are."""
    return [Model(name, name, config.seeds) for name, source in config.models.items() if source.reference]


def compressions(folder: RunFolder, config: RunConfig) -> list[Compress]:
    """List the calls of compressors; stacks come after the rows that make their leading parts."""
    sources = config.compressors()
    rows = sorted(sources, key=lambda row: len(part_names(sources[row].compressor or "")))
    is_stacked = any(len(part_names(source.compressor or "")) > 1 for source in sources.values())
    known = {**rows_there(folder), **sources} if is_stacked else sources
    seeds = [(COMPRESSION_SEED, "")]
    if config.training_budget is not None:
        seeds = [(seed, seed_suffix(seed)) for seed in config.seeds]
    items: dict[tuple[str, int], Compress] = {}
    for row in rows:
        for seed, suffix in seeds:
            if config.training_budget is not None and not config.asks_for(row, seed):
                continue
            part = _part(row, seed, suffix, known, items, folder, config.preset)
            items[row, seed] = Compress(row, known[row].compressor or "", seed, suffix, part)
    return list(items.values())


def _part(
    stack: str,
    seed: int,
    suffix: str,
    known: Mapping[str, ModelSource],
    items: Mapping[tuple[str, int], Compress],
    folder: RunFolder,
    preset: str,
) -> Compress | None:
    """Find the item that makes the longest leading part of a stack: in this run, or finished by an earlier call."""
    for row in rows_of_leading_parts(known[stack], known, preset):
        item = items.get((row, seed)) or Compress(row, known[row].compressor or "", seed, suffix)
        if (row, seed) in items or item.is_done(folder):
            return item
    return None
