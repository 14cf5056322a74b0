"""Records: one JSON file a finished cell, with its predictions beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.contracts import Settings
from bench.errors import UserError
from bench.files import write_atomically


class Cell(Settings):
    """One unit of work: a model evaluated on a task with one seed."""

    model: str
    """Name of the row."""
    task: str
    """Name of the task."""
    seed: int
    """Of the downstream head."""

    def stem(self) -> str:
        """Path of its files below ``cells/``, without suffix."""
        return f"{self.model}/{self.task}-seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.model} {self.task} seed {self.seed}"


class ModelCard(Settings):
    """What a leaderboard row says of a model besides its scores."""

    compressor: str = "none"
    """Name of the compressor; ``none`` for a model evaluated as it is."""
    teacher: str | None = None
    """Reference of the teacher."""
    start: str | None = None
    """Reference of the model that compression went on from; none where it began from the teacher."""
    target_sparsity: float | None = None
    """Fraction of the teacher's parameters that compression was to remove, in the compressor's own counting; none
    where its budget was in MACs."""
    target: str | None = None
    """What the compressor's budget was in, ``params`` or ``macs``, where its settings say so."""
    sparsity: float | None = None
    """Fraction of the teacher's trainable parameters that it removed."""
    params: int
    """Trainable parameters."""
    size_bytes: int
    """Of the weights as stored."""
    macs: int | None = None
    """Plain count over SUPERB's 32 utterance lengths."""
    macs_superb: int | None = None
    """What SUPERB's official profiler would print."""


class Record(Settings):
    """The outcome of one finished cell."""

    schema_version: int = 1
    """Of this file."""
    cell: Cell
    """What was evaluated."""
    card: ModelCard
    """Of the model."""
    preset: str
    """Preset of the run."""
    data: str
    """Name and version of the corpora."""
    audio_sha256: str | None = None
    """Hash of the task's audio, where embedded corpora know it."""
    protocol: str
    """How features were computed."""
    scores: dict[str, dict[str, float]]
    """Split to metric to value, fractions in full precision."""
    settings: dict[str, Any]
    """What the recipe really used."""
    provenance: dict[str, Any]
    """Code and library versions, device, weights' hash, wall time."""


class RecordStore:
    """The ``cells`` folder of a run."""

    def __init__(self, run_folder: Path) -> None:
        self.folder = run_folder / "cells"

    def path(self, cell: Cell) -> Path:
        """Where the record of a finished cell lies."""
        return self.folder / f"{cell.stem()}.json"

    def read(self, cell: Cell) -> Record | None:
        """Return the record, or None where the cell is not finished."""
        path = self.path(cell)
        return _read(path) if path.is_file() else None

    def write(self, record: Record, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Keep a finished cell; the record comes last, so that it vouches for its predictions."""
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in predictions)
        write_atomically(self.folder / f"{record.cell.stem()}.predictions.jsonl", lines)
        write_atomically(self.path(record.cell), record.model_dump_json(indent=1) + "\n")

    def predictions(self, cell: Cell) -> list[dict[str, Any]]:
        """Read what a finished cell said about every utterance.

        Raises:
            UserError: the file is missing or torn.
        """
        path = self.folder / f"{cell.stem()}.predictions.jsonl"
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        except (OSError, ValueError) as error:
            raise UserError(
                f"Expected the predictions of {cell} in {path}. Found none that can be read. Delete "
                f"{self.path(cell)}, and run again."
            ) from error

    def __iter__(self) -> Iterator[Record]:
        """Read every record, sorted by path."""
        for path in sorted(self.folder.glob("*/*.json")):
            yield _read(path)


def _read(path: Path) -> Record:
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(
            f"Expected a record of this version in {path}. Delete it, and its cell is run again."
        ) from error


def audio_differences(records: Iterable[Record]) -> list[str]:
    """Say where records of one version of embedded corpora heard audio that differs in bits, a line a task.

    Another processor or library may synthesise other bits from the same plan; scores then differ for that reason too.
    """
    heard: dict[tuple[str, str], dict[str, str]] = {}
    for record in records:
        if record.audio_sha256:
            models = heard.setdefault((record.cell.task, record.data), {})
            models.setdefault(record.audio_sha256, record.cell.model)
    return [
        f"{task}: the audio of {data} differs in bits between rows ("
        + ", ".join(f"{model} {sha256[:8]}" for sha256, model in models.items())
        + "): it was synthesised on different machines or by different libraries."
        for (task, data), models in heard.items()
        if len(models) > 1
    ]
