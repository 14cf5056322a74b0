"""Stars: which scores of a table differ from those of one row, beyond chance."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.comparison.compare import Comparison, compare
from bench.comparison.rows import Row, find_rows
from bench.errors import UserError
from bench.leaderboard.collate import SMOKE
from bench.leaderboard.comparable import Board
from bench.registry import nearest
from bench.reports.tables.leaderboards import DIFFERS, Group

logger = logging.getLogger(__name__)

TEACHER = "teacher"
"""Stands for the teacher of each run, unless a row has this name."""


def with_stars(groups: Sequence[Group], boards: Sequence[Board], against: str) -> list[Group]:
    """Mark the scores that differ from those of a row, as ``bench compare`` finds them.

    Args:
        groups: of the boards' rows. Scores without a meaning (preset ``smoke``) get no stars.
        boards: the runs behind them.
        against: name of the row, or `TEACHER`.

    Raises:
        UserError: no run has this row.
    """
    known = sorted({str(model) for board in boards for model in board.table["model"]})
    if against not in (TEACHER, *known):
        raise UserError(f"--against: no run has a row {against!r}. {nearest(against, [TEACHER, *known])}")
    by_name = {board.name: board for board in boards}
    return [
        group if (group.table["preset"] == SMOKE).any() else _with_stars(group, by_name, against) for group in groups
    ]


def _with_stars(group: Group, boards: Mapping[str, Board], against: str) -> Group:
    own = {run: boards[run] for run, _ in group.row_keys() if run in boards}
    references = {run: _reference(board, own, against) for run, board in own.items()}
    found = {
        (run, model): _comparisons(references[run], own[run], model)
        for run, model in group.row_keys()
        if run in own and references[run]
    }
    stars = [{_column(one): _stars(one) for one in found.get(key, ())} for key in group.row_keys()]
    columns = dict.fromkeys(name for row in stars for name in row)
    table = group.table.assign(**{name: [row.get(name, "") for row in stars] for name in columns})
    compared = [one for comparisons in found.values() for one in comparisons]
    return replace(group, table=table, notes=(*group.notes, *_notes(compared))) if compared else group


def _reference(board: Board, others: Mapping[str, Board], against: str) -> str:
    """Return the folder of the row to compare with; empty if there is none."""
    for one in (board, *others.values()):
        row = one.teacher_row if against == TEACHER and TEACHER not in set(one.table["model"]) else against
        folder = one.path / "cells" / str(row)
        if folder.is_dir():
            return str(folder)
    return ""


def _comparisons(reference: str, board: Board, model: str) -> list[Comparison]:
    folder = board.path / "cells" / model
    if not folder.is_dir() or folder.samefile(reference):
        return []
    try:
        rows: list[Row] = find_rows([reference, str(folder)], None, board.path)
        return compare(rows, board.split)  # type: ignore[arg-type]
    except UserError as error:
        logger.warning("%s has no stars. %s", model, error)
        return []


def _column(comparison: Comparison) -> str:
    return f"{comparison.task}_{comparison.metric}{DIFFERS}"


def _stars(comparison: Comparison) -> str:
    return "**" if comparison.is_real_after_holm else "*" if comparison.better else ""


def _notes(comparisons: Sequence[Comparison]) -> list[str]:
    references = ", ".join(dict.fromkeys(one.first for one in comparisons))
    notes = [
        f"* differs from {references}: the 95 % interval of the difference excludes 0, as in bench compare; ** also "
        "after Holm's correction over the scores of a row."
    ]
    if not all(one.is_about_methods for one in comparisons):
        notes.append(
            "Stars of rows with one seed or one compression are about these very models, not about methods: their "
            "intervals cover other heads and test utterances only."
        )
    return notes
