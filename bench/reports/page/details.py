"""What the page shows about one model: its records, the size of its layers, and what compression broke."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.comparison.changes import Changes, find_changes
from bench.comparison.rows import Row, find_rows
from bench.errors import UserError
from bench.leaderboard.comparable import Board
from bench.leaderboard.titles import in_order, task_title
from bench.reports.page.figures import architecture_figure
from bench.reports.plots.architecture import plots as architecture_plots
from bench.reports.plots.series import UNCOMPRESSED, Look
from bench.reports.plots.sources import Source, read_sources
from bench.reports.plots.writing import NothingToDrawError
from bench.store.records import Record

logger = logging.getLogger(__name__)

MAX_UTTERANCES = 100
"""At most so many broken utterances are listed per task."""
MOST_COMPARED = 50
"""Only so many compressed rows of a run are compared with their teacher, because comparing utterances takes time."""
NUM_RESAMPLES = 1000
"""Resamples and permutations per comparison: a tenth of those of ``bench compare``, for the same reason."""
RECIPE = "arguments"
"""The key of a record's settings whose value most records share."""


@dataclass(frozen=True)
class ModelDetails:
    """What the page shows about one model, apart from its row."""

    records: Mapping[str, str]
    """Task and seed to the record, as JSON."""
    saved: Mapping[str, str]
    """Saved model to its provenance, as JSON."""
    figures: Mapping[str, dict[str, Any]]
    """Saved model to the figure of its layers."""
    changes: list[Changes | tuple[str, str]] = field(default_factory=list)
    """What compression broke, by task and metric; a pair of task and reason if they cannot be compared."""
    not_compared: str = ""
    """Why there are no changes; empty also for a model that is not compressed."""


class SharedValues:
    """Large values that many records share, each stored once as JSON."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        """Return the value's number, from 1; a new value is added."""
        return self.places.setdefault(as_json(value), len(self.places) + 1)


def as_json(value: Any) -> str:
    """Write a value for people to read."""
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)


def model_details(
    board: Board, split: str, recipes: SharedValues, looks: Mapping[str, Look]
) -> dict[str, ModelDetails]:
    """Collect what is known about every model of a run.

    Args:
        board: the run's leaderboard and records.
        split: the split on which utterances are compared with the teacher's.
        recipes: collects the recipes' arguments; the records hold their numbers.
        looks: of the methods.

    Returns:
        Row of the leaderboard to its details.
    """
    (source,) = read_sources([board.path])
    figures = _figures(source, looks)
    broken = _changes(board, split)
    place = {task: index for index, task in enumerate(in_order(record.cell.task for record in board.records))}
    records: dict[str, list[Record]] = {str(row): [] for row in board.table["model"]}
    for record in sorted(board.records, key=lambda one: (place[one.cell.task], one.cell.seed)):
        records[record.cell.model].append(record)
    saved = {row: source.saved(row) for row in records}
    return {
        row: ModelDetails(
            records={f"{one.cell.task}, seed {one.cell.seed}": _record(one, recipes) for one in found},
            saved={model.name: as_json(model.manifest.provenance) for model in saved[row]},
            figures={model.name: figures[model.name] for model in saved[row] if model.name in figures},
            **broken.get(row, {}),
        )
        for row, found in records.items()
    }


def _record(record: Record, recipes: SharedValues) -> str:
    values: dict[str, Any] = record.model_dump(mode="json")
    if RECIPE in values["settings"]:
        recipe = f"recipe {recipes.place(values['settings'][RECIPE])} below the tables"
        values["settings"] = {**values["settings"], RECIPE: recipe}
    return as_json(values)


def _figures(source: Source, looks: Mapping[str, Look]) -> dict[str, dict[str, Any]]:
    try:
        tables = [plot.data for plot in architecture_plots([source])]
    except NothingToDrawError:
        return {}
    return {
        str(table["label"].iat[0]): architecture_figure(
            table, looks.get(str(table["compressor"].iat[0]), looks[UNCOMPRESSED])
        )
        for table in tables
    }


def _changes(board: Board, split: str) -> dict[str, dict[str, Any]]:
    """Compare compressed models with the run's teacher. If that is impossible, give the reason instead."""
    compressed = [str(row) for row in board.table.loc[board.table["compressor"] != "none", "model"]]
    if not compressed:
        return {}
    teacher_row = board.teacher_row
    if teacher_row not in set(board.table["model"]):
        return {row: {"not_compared": "The run has no scores of the teacher."} for row in compressed}
    if not any(board.path.glob("cells/*/*.predictions.jsonl")):
        return {row: {"not_compared": "The run's folder has no predictions, which this needs."} for row in compressed}
    left_out = {row: {"not_compared": _command(board, str(teacher_row), row)} for row in compressed[MOST_COMPARED:]}
    teacher, *rows = find_rows([str(teacher_row), *compressed[:MOST_COMPARED]], board.path, board.path)
    found = {name: _changes_from(teacher, row, split, board) for name, row in zip(compressed, rows, strict=False)}
    nothing = {"not_compared": "It has no task in common with its teacher."}
    return left_out | {name: {"changes": changes} if changes else nothing for name, changes in found.items()}


def _command(board: Board, teacher: str, row: str) -> str:
    return (
        f"The page compares the first {MOST_COMPARED} compressed rows of a run with their teacher. For this one: bench "
        f"compare {teacher} {row} --run {board.name} --changes all"
    )


def _changes_from(teacher: Row, row: Row, split: str, board: Board) -> list[Changes | tuple[str, str]]:
    """Compare one model with its teacher, task by task. A task that cannot be compared gets the reason."""
    logger.info("comparing the utterances of %s with its teacher's", row.name)
    found: list[Changes | tuple[str, str]] = []
    for task in in_order(set(teacher.records) & set(row.records)):
        try:
            found += find_changes([teacher, row], split, tasks=[task], num_resamples=NUM_RESAMPLES)
        except UserError as error:
            # The page must not reveal where the run was stored.
            found.append((task_title(task), str(error).replace(f"{board.path}/", "")))
    return found
