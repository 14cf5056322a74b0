"""What the page shows about one model: its records, the size of its layers, and what compression broke."""

from __future__ import annotations

import json
import logging
from typing import Any

from bench.comparison.changes import Changes, GroupChange, find_changes
from bench.comparison.rows import Row, find_rows
from bench.errors import UserError
from bench.leaderboard.comparable import Board
from bench.leaderboard.titles import in_order, score_title, task_title
from bench.report.plots.architecture import plots as architecture_plots
from bench.report.plots.sources import Source, read_sources
from bench.report.plots.writing import NothingToDrawError
from bench.store.records import Record

logger = logging.getLogger(__name__)

MAX_UTTERANCES = 100
"""At most so many broken utterances are listed per task."""
RECIPE = "arguments"
"""The key of a record's settings whose value most records share."""


class SharedValues:
    """Large values that many records share, each stored once."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def place(self, value: Any) -> int:
        """Return the value's position; a new value is added."""
        if value not in self.values:
            self.values.append(value)
        return self.values.index(value)


def model_details(board: Board, split: str, shared: SharedValues) -> dict[str, dict[str, Any]]:
    """Collect what is known about every model of a run.

    Args:
        board: the run's leaderboard and records.
        split: the split on which utterances are compared with the teacher's.
        shared: collects the run's configuration and the recipes' arguments; the details hold their positions.

    Returns:
        Row of the leaderboard to plain values.
    """
    (source,) = read_sources([board.path])
    layers = _layers(source)
    broken = _changes(board, source, split)
    config = shared.place(dict(board.config))
    return {
        row: {
            "config": config,
            "records": [_record(record, shared) for record in _records(board, row)],
            "saved": {model.name: model.manifest.provenance for model in source.saved(row)},
            "layers": {model.name: layers[model.name] for model in source.saved(row) if model.name in layers},
            "teacher": source.teacher_row,
            **broken.get(row, {}),
        }
        for row in board.table["model"]
    }


def _records(board: Board, row: str) -> list[Record]:
    place = {task: index for index, task in enumerate(in_order(record.cell.task for record in board.records))}
    mine = [record for record in board.records if record.cell.model == row]
    return sorted(mine, key=lambda record: (place[record.cell.task], record.cell.seed))


def _record(record: Record, shared: SharedValues) -> dict[str, Any]:
    values: dict[str, Any] = record.model_dump(mode="json")
    if RECIPE in values["settings"]:
        values["settings"] = {**values["settings"], RECIPE: {"shared": shared.place(values["settings"][RECIPE])}}
    return values


def _layers(source: Source) -> dict[str, list[dict[str, Any]]]:
    try:
        plots = architecture_plots([source])
    except NothingToDrawError:
        return {}
    return {str(plot.data["model"].iloc[0]): json.loads(plot.data.to_json(orient="records")) for plot in plots}


def _changes(board: Board, source: Source, split: str) -> dict[str, dict[str, Any]]:
    """Compare every compressed model with the run's teacher. If that is impossible, give the reason instead."""
    compressed = [str(row) for row in board.table.loc[board.table["compressor"] != "none", "model"]]
    if not compressed:
        return {}
    if source.teacher_row not in set(board.table["model"]):
        return {row: {"not_compared": "The run has no scores of the teacher."} for row in compressed}
    teacher, *rows = find_rows([str(source.teacher_row), *compressed], board.path, board.path)
    found = {name: _changes_from(teacher, row, split, board) for name, row in zip(compressed, rows, strict=True)}
    nothing = {"not_compared": "It has no task in common with its teacher."}
    return {name: {"changes": changes} if changes else nothing for name, changes in found.items()}


def _changes_from(teacher: Row, row: Row, split: str, board: Board) -> list[dict[str, Any]]:
    """Compare one model with its teacher, task by task. A task that cannot be compared gets the reason."""
    logger.info("comparing the utterances of %s with its teacher's", row.name)
    found = []
    for task in in_order(set(teacher.records) & set(row.records)):
        try:
            found += [_change(one) for one in find_changes([teacher, row], split, tasks=[task])]
        except UserError as error:
            # The page must not reveal where the run was stored.
            reason = str(error).replace(f"{board.path}/", "")
            found.append({"title": task_title(task), "not_compared": reason})
    return found


def _change(changes: Changes) -> dict[str, Any]:
    broken = [one for one in changes.utterances if one.kind == "broken"]
    return {
        "title": score_title(changes.task, changes.metric.name),
        "groups": [_group(group) for group in (changes.overall, *changes.groups)],
        "num_broken": len(broken),
        "broken": [
            [one.id, str(one.first.reference), str(one.first.predictions[0]), str(one.other.predictions[0])]
            for one in broken[:MAX_UTTERANCES]
        ],
    }


def _group(group: GroupChange) -> dict[str, Any]:
    difference = group.difference
    return {
        "name": f"{group.column} {group.value}".strip(),
        "num_utterances": group.num_utterances,
        "num_broken": group.num_broken,
        "num_mended": group.num_mended,
        "before": 100 * group.first_score,
        "now": 100 * group.other_score,
        "difference": 100 * difference.value,
        "interval": [100 * difference.low, 100 * difference.high] if difference.has_interval else None,
        "lost_more_by": 100 * group.lost_more_by if group.column else None,
        "p_value": group.p_value if group.column else None,
        "stands_out": group.stands_out,
    }
