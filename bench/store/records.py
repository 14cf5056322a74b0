"""Records: one JSON file per finished cell, with its predictions next to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from bench.contracts import Settings
from bench.contracts.names import Name
from bench.errors import UserError
from bench.files.atomic import write_atomically
from bench.store.inside import inside
from bench.store.reading import Finite, read_json_as, read_json_lines_as

Score = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
"""A fraction. Error rates may exceed 1."""
Count = Annotated[int, Field(ge=0, lt=2**62)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Cell(Settings):
    """One unit of work: a model evaluated on a task with one seed."""

    model: Name
    """Name of the row."""
    task: Name
    """Name of the task."""
    seed: Count
    """Seed of the downstream head."""

    def stem(self) -> str:
        """Path of its files below ``cells/``, without suffix."""
        return f"{self.model}/{self.task}-seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.model} {self.task} seed {self.seed}"


class ModelCard(Settings):
    """What a leaderboard row shows about a model, apart from its scores."""

    compressor: str = "none"
    """Name of the compressor; ``none`` for a model evaluated as it is."""
    teacher: str | None = None
    """Reference of the teacher."""
    start: str | None = None
    """Reference of the model that compression started from; None if it started from the teacher."""
    target_sparsity: Finite | None = None
    """Fraction of the teacher's parameters that compression was to remove, as the compressor counts them; None if its
    budget was in MACs.
    """
    target: str | None = None
    """Unit of the compressor's budget, ``params`` or ``macs``, if its settings name it."""
    sparsity: Finite | None = None
    """Fraction of the teacher's trainable parameters that was removed."""
    params: Count
    """Trainable parameters."""
    size_bytes: Count
    """Size of the weights as stored."""
    macs: Count | None = None
    """Plain count over SUPERB's 32 utterance lengths."""
    macs_superb: Count | None = None
    """The output of SUPERB's official profiler."""


class ReportedSettings(BaseModel):
    """The part of a record's settings that tables and plots show."""

    learning_rate: Finite | str | None = None
    """Learning rate of the head."""
    layer_weights: list[Finite] = Field(default_factory=list)
    """Weights of the hidden states."""


class Record(Settings):
    """The outcome of one finished cell."""

    schema_version: Literal[1] = 1
    """Version of this file's format."""
    cell: Cell
    """What was evaluated."""
    card: ModelCard
    """The model's size and origin."""
    preset: str
    """Preset of the run."""
    data: str
    """Name and version of the corpora."""
    audio_sha256: str | None = None
    """Hash of the task's audio, if the embedded corpora know it."""
    data_sha256: str | None = None
    """Hash of the task's labels and audio, for the user's own corpora if the task can compute it."""
    protocol: str
    """How features were computed."""
    scores: dict[Name, dict[Name, Score]]
    """Split to metric to value, as fractions in full precision."""
    settings: dict[str, Any]
    """The settings that the recipe used."""
    provenance: dict[str, Any]
    """Code and library versions, device, hash of the weights, wall time."""

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        """Check the settings that tables and plots show, whatever the task."""
        try:
            ReportedSettings.model_validate(self.settings)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"settings.{first['loc'][0]}: {first['msg']}") from error
        return self

    @property
    def weights_hash(self) -> str | None:
        """Identifies the weights that were scored; None in records of early versions."""
        found = self.provenance.get("weights_hash")
        return found if isinstance(found, str) else None


class Prediction(BaseModel):
    """The predictions of a finished cell for one utterance; further keys are columns of the data."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    id: str
    split: str
    reference: Any
    """The label or text, as the task scored it."""
    prediction: Any = None
    correct: Share | None = None
    """Whether the prediction is right."""
    counts: dict[str, tuple[Share, Share]] | None = None
    """Metric to numerator and denominator; None in the predictions of early versions, and of tasks without counts."""
    duration_s: Share | None = None
    fold: Any = None

    @property
    def columns(self) -> dict[str, Any]:
        """What the data say about the utterance, such as ``speaker``."""
        return dict(self.model_extra or {})


class RecordStore:
    """The ``cells`` folder of a run."""

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self.folder = run_folder / "cells"

    def path(self, cell: Cell) -> Path:
        """Return the path of a finished cell's record."""
        return inside(self._run_folder, "cells", f"{cell.stem()}.json")

    def predictions_path(self, cell: Cell) -> Path:
        """Return the path of a finished cell's predictions."""
        return inside(self._run_folder, "cells", f"{cell.stem()}.predictions.jsonl")

    def read(self, cell: Cell) -> Record | None:
        """Return the record, or None if the cell is not finished."""
        path = self.path(cell)
        return _read(path) if path.is_file() else None

    def write(self, record: Record, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Store a finished cell. The record is written last, so if it exists, its predictions do too."""
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in predictions)
        write_atomically(self.predictions_path(record.cell), lines)
        write_atomically(self.path(record.cell), record.model_dump_json(indent=1) + "\n")

    def predictions(self, cell: Cell) -> list[Prediction]:
        """Read the predictions of a finished cell for all utterances.

        Raises:
            UserError: the file is missing, or a line is wrong.
        """
        remedy = f"Delete {self.path(cell)}, and run again."
        what = f"the predictions of {cell}"
        return list(read_json_lines_as(Prediction, self.predictions_path(cell), what, remedy))

    def of(self, model: str) -> list[Record]:
        """Read every record of one row, sorted by path."""
        return [_read(path) for path in sorted((self.folder / model).glob("*.json")) if not _is_hidden(path)]

    def __iter__(self) -> Iterator[Record]:
        """Read every record, sorted by path."""
        for path in sorted(self.folder.glob("*/*.json")):
            if not _is_hidden(path):
                yield _read(path)


def _is_hidden(path: Path) -> bool:
    """Return whether a file belongs to an editor or the system, such as ``._ks-seed0.json``."""
    return path.name.startswith(".") or path.parent.name.startswith(".")


def _read(path: Path) -> Record:
    remedy = "Delete it, and its cell is run again."
    record = read_json_as(Record, path, "a record of this version", remedy)
    if record.cell.stem() != f"{path.parent.name}/{path.stem}":
        raise UserError(f"Expected the record of another cell in {path}. Found that of {record.cell}. {remedy}")
    return record


def data_differences(records: Iterable[Record]) -> list[str]:
    """Report tasks of a run that were scored on different labels or audio of the user's own, one line per task."""
    seen: dict[str, dict[str, str]] = {}
    for record in records:
        if record.data_sha256:
            seen.setdefault(record.cell.task, {}).setdefault(record.data_sha256, record.cell.model)
    return [
        f"{task}: rows were scored on different labels or audio ("
        + ", ".join(f"{model} {sha256[:8]}" for sha256, model in models.items())
        + "): they cannot be ranked."
        for task, models in seen.items()
        if len(models) > 1
    ]


def weights_differences(records: Iterable[Record], *, by_seed: bool) -> list[str]:
    """Report rows whose scores come from different weights, one line per row.

    Args:
        records: of one run.
        by_seed: every seed has its own weights, as in sweeps.
    """
    seen: dict[tuple[str, int | None], set[str]] = {}
    for record in records:
        if record.weights_hash:
            place = (record.cell.model, record.cell.seed if by_seed else None)
            seen.setdefault(place, set()).add(record.weights_hash)
    rows = dict.fromkeys(model for (model, _), hashes in seen.items() if len(hashes) > 1)
    return [f"{row}: its cells were scored with different weights, so they are not one model." for row in rows]


def audio_differences(records: Iterable[Record]) -> list[str]:
    """Report tasks whose records were scored on audio of embedded corpora that differs in bits, one line per task.

    Another processor or library may synthesise other bits from the same plan. Scores may then differ for that reason
    too.
    """
    seen: dict[tuple[str, str], dict[str, str]] = {}
    for record in records:
        if record.audio_sha256:
            models = seen.setdefault((record.cell.task, record.data), {})
            models.setdefault(record.audio_sha256, record.cell.model)
    return [
        f"{task}: the audio of {data} differs in bits between rows ("
        + ", ".join(f"{model} {sha256[:8]}" for sha256, model in models.items())
        + "): it was synthesised on different machines or by different libraries."
        for (task, data), models in seen.items()
        if len(models) > 1
    ]
