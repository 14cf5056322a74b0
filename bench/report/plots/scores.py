"""The scores that figures show: one row per model and score, split into settings that cannot be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.contracts import Metric
from bench.leaderboard.comparable import Board, comparable
from bench.leaderboard.notes import preset_name
from bench.leaderboard.run_leaderboard import primary_metrics
from bench.leaderboard.titles import in_order, score_title
from bench.report.plots.sources import Source

SETTING = ["data", "preset", "protocol"]
"""Where scores come from; rows that differ in these columns never share a figure."""
COLUMNS = [
    "run",
    "model",
    "label",
    "compressor",
    "is_teacher",
    "is_published",
    "setting",
    *SETTING,
    "params",
    "size_bytes",
    "macs_superb",
    "rtf",
    "measured_on",
    "task",
    "metric",
    "higher_is_better",
    "score",
    "score_std",
]
KINDS_OF_VALUES = {
    **dict.fromkeys(("params", "size_bytes", "macs_superb", "rtf", "score", "score_std"), "float64"),
    **dict.fromkeys(("is_teacher", "is_published", "higher_is_better"), "bool"),
}
"""Types of the columns that are not text; they also apply to an empty table."""
RELATIVE = Metric("relative_score", higher_is_better=True)
"""The leaderboard's score over all tasks of a run: its filter banks have 0, its teacher has 100."""


def task_scores(sources: Sequence[Source]) -> pd.DataFrame:
    """List the primary metrics of every task: columns ``COLUMNS``, scores in percent."""
    rows = [
        _row(source, row, task, metric)
        for source, board in _boards(sources)
        for row in _rows(board)
        for task, metrics in _metrics(board).items()
        for metric in metrics
        if pd.notna(row.get(f"{task}_{metric.name}"))
    ]
    return _table(rows, setting_numbers(sources))


def overall_scores(sources: Sequence[Source], score: Metric = RELATIVE) -> pd.DataFrame:
    """List a score over many tasks, for the runs that have it: columns ``COLUMNS``, without a task.

    Args:
        sources: of the rows.
        score: a column of the leaderboard.
    """
    rows = [
        _row(source, row, "", score)
        for source, board in _boards(sources)
        for row in _rows(board)
        if pd.notna(row.get(score.name))
    ]
    return _table(rows, setting_numbers(sources))


def overall_or_task_scores(sources: Sequence[Source]) -> pd.DataFrame:
    """List the relative score if all runs have it, on one scale per setting; otherwise every task's scores."""
    groups = comparable([board for _, board in _boards(sources)])
    is_overall = all(
        group.has_one_scale and all(board.has_relative_scores for board in group.boards) for group in groups
    )
    return overall_scores(sources) if groups and is_overall else task_scores(sources)


def without_filter_banks(scores: pd.DataFrame) -> pd.DataFrame:
    """Leave out filter banks: nobody compresses them, and at zero parameters they would squeeze the models together."""
    return scores[scores["params"] > 0]


def panel_title(rows: pd.DataFrame) -> str:
    """Name the score of a panel, its unit, and which way is better."""
    task, metric, higher_is_better = rows[["task", "metric", "higher_is_better"]].iloc[0]
    unit = " (%)" if task else ""
    return f"{score_title(task, metric)}{unit} {'↑' if higher_is_better else '↓'}"


def setting_label(table: pd.DataFrame) -> str:
    """Describe where the scores of a table of one setting come from."""
    own = table[~table["is_published"]] if "is_published" in table else table
    if own.empty:
        return "published results on SUPERB's corpora, not of this suite"
    data, preset, protocol = own[SETTING].iloc[0]
    beside = "" if len(own) == len(table) else "; beside published results on SUPERB's corpora"
    return f"{data}, preset {preset_name(preset)}, protocol {protocol}{beside}"


def by_setting(table: pd.DataFrame, name: str) -> list[tuple[str, pd.DataFrame]]:
    """Split a table by ``setting``, so that scores within a part may be compared; each part has a figure name."""
    groups = [(key, group.reset_index(drop=True)) for key, group in table.groupby("setting", sort=False)]
    return [(name if len(groups) == 1 else f"{name}-{key}", group) for key, group in groups]


def setting_numbers(sources: Sequence[Source]) -> dict[str, int]:
    """Number the groups of runs whose scores may be compared, from 1: name of a source to its group."""
    boards = {source.name: source.board for source in sources if source.board is not None}
    groups = comparable(list(boards.values()))
    return {
        name: next(number for number, group in enumerate(groups, 1) if board in group.boards)
        for name, board in boards.items()
    }


def _boards(sources: Sequence[Source]) -> list[tuple[Source, Board]]:
    return [(source, source.board) for source in sources if source.board is not None]


def _rows(board: Board) -> list[dict[str, Any]]:
    return board.table.to_dict("records")  # type: ignore[return-value]


def _metrics(board: Board) -> dict[str, tuple[Metric, ...]]:
    found = primary_metrics({record.cell.task for record in board.records})
    return {task: found[task] for task in in_order(found)}


def _row(source: Source, row: dict[str, Any], task: str, metric: Metric) -> dict[str, Any]:
    column = f"{task}_{metric.name}" if task else metric.name
    return {
        "run": source.name,
        "model": row["model"],
        "compressor": row["compressor"],
        "is_teacher": row["model"] == source.teacher_row,
        "is_published": False,
        **{key: row[key] for key in SETTING},
        **{key: row.get(key) for key in ("params", "size_bytes", "macs_superb", "rtf", "measured_on")},
        "task": task,
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "score": row[column],
        "score_std": row.get(f"{column}_std"),
    }


def _table(rows: list[dict[str, Any]], settings: Mapping[str, int]) -> pd.DataFrame:
    """Drop rows that several runs share, such as their teacher, and add the run to labels that would be equal."""
    table = pd.DataFrame(rows, columns=COLUMNS).astype(KINDS_OF_VALUES)
    table = table.assign(setting=table["run"].map(settings))
    table = table[~_told_before(table)]
    runs = table.groupby("model")["run"].transform("nunique")
    labels = table["model"].where(runs == 1, table["run"] + "/" + table["model"])
    return table.assign(label=labels).reset_index(drop=True)


def _told_before(table: pd.DataFrame) -> pd.Series[bool]:
    """Mark models whose every row is already in an earlier run. A single equal score may be chance and is no copy."""
    repeated = table.duplicated([column for column in COLUMNS if column not in ("run", "label")])
    return repeated.groupby([table["run"], table["model"]]).transform("all")
