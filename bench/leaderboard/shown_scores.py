"""The scores that figures and the page show: one tidy table of all rows, published ones included."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.leaderboard.comparable import Board, comparable
from bench.leaderboard.overall import OVERALL, RELATIVE
from bench.leaderboard.published import published_scores
from bench.leaderboard.run_leaderboard import primary_metrics
from bench.leaderboard.titles import in_order

SETTING = ["data", "preset", "protocol"]
"""Where scores come from; rows that differ in these columns never share a figure."""
COSTS = ["params", "size_bytes", "macs", "macs_superb", "rtf"]
COLUMNS = [
    "run",
    "model",
    "label",
    "compressor",
    "target_sparsity",
    "is_teacher",
    "is_published",
    "setting",
    *SETTING,
    *COSTS,
    "measured_on",
    "relative_scale",
    "task",
    "metric",
    "higher_is_better",
    "score",
    "score_std",
]
KINDS_OF_VALUES = {
    **dict.fromkeys((*COSTS, "target_sparsity", "score", "score_std"), "float64"),
    **dict.fromkeys(("is_teacher", "is_published", "higher_is_better"), "bool"),
    **dict.fromkeys(("measured_on", "relative_scale"), "object"),
}
"""Types of the columns that are not always text; they also apply to an empty table."""


def shown_scores(boards: Sequence[Board], *, with_published: bool = False) -> pd.DataFrame:
    """List the primary metrics of every task, and the scores over many tasks: columns ``COLUMNS``, scores in percent.

    Rows that several runs share, such as their teacher, are listed once. If different rows have the same name, the run
    is added to their labels.

    Args:
        boards: the runs' leaderboards. Runs whose scores may be compared share the number ``setting``, from 1.
        with_published: whether to add published rows, as a setting of their own: 0.
    """
    groups = comparable(boards)
    numbers = {board.name: number for number, kin in enumerate(groups, 1) for board in kin.boards}
    tables = [_scores(board).assign(setting=numbers[board.name]) for board in boards]
    tables += [published_scores().assign(setting=0)] if with_published else []
    parts = [one.reindex(columns=COLUMNS).astype(KINDS_OF_VALUES) for one in tables if not one.empty]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS).astype(KINDS_OF_VALUES)
    # A single equal score may be chance and does not make a row a copy.
    repeated = table.duplicated([column for column in COLUMNS if column not in ("run", "label")])
    table = table[~repeated.groupby([table["run"], table["model"]]).transform("all")]
    is_unique = table.groupby("model")["run"].transform("nunique") == 1
    labels = table["model"].where(is_unique | table["is_published"], table["run"] + "/" + table["model"])
    return table.assign(label=labels).reset_index(drop=True)


def by_task(scores: pd.DataFrame) -> pd.DataFrame:
    """Select the tasks' own scores."""
    return scores[scores["task"] != ""]


def overall(scores: pd.DataFrame, metric: str = RELATIVE) -> pd.DataFrame:
    """Select one score over many tasks."""
    return scores[(scores["task"] == "") & (scores["metric"] == metric)]


def overall_or_by_task(scores: pd.DataFrame, boards: Sequence[Board]) -> pd.DataFrame:
    """Select the relative score if all runs have it, on one scale per setting; otherwise every task's scores."""
    is_overall = all(
        group.has_one_scale and all(board.has_relative_scores for board in group.boards) for group in comparable(boards)
    )
    return overall(scores) if boards and is_overall else by_task(scores)


def without_filter_banks(scores: pd.DataFrame) -> pd.DataFrame:
    """Leave out filter banks: nobody compresses them, and at zero parameters they would squeeze the models together."""
    return scores[scores["params"] > 0]


def _scores(board: Board) -> pd.DataFrame:
    found = primary_metrics({record.cell.task for record in board.records})
    metrics = [(task, one.name, one.higher_is_better) for task in in_order(found) for one in found[task]]
    metrics += [("", name, True) for name in OVERALL]
    order = pd.DataFrame(metrics, columns=["task", "metric", "higher_is_better"])
    scores = order.merge(board.means.dropna(subset="score"), on=["task", "metric"])
    rows = board.table[[name for name in COLUMNS if name in board.table]]
    table = rows.merge(scores, on="model")
    scale = board.relative_scale if board.has_relative_scores else None
    return table.assign(
        run=board.name,
        is_teacher=table["model"] == board.teacher_row,
        is_published=False,
        relative_scale=table["metric"].map(lambda metric: scale if metric == RELATIVE else None),
    )
