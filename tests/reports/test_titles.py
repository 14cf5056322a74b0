"""Tasks have one order and one name, wherever they are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.comparison.rows import find_rows
from bench.comparison.utterances import common_tasks
from bench.leaderboard.comparable import read_board
from bench.leaderboard.shown_scores import by_task, shown_scores
from bench.leaderboard.titles import in_order, score_title
from bench.reports.tables.leaderboards import report_groups


def test_superb_s_order_then_names() -> None:
    assert in_order(["zz", "er", "sf", "aa", "ks", "pr"]) == ["pr", "ks", "sf", "er", "aa", "zz"]


def test_tables_figures_and_comparisons_agree(write_run: Callable[..., Path]) -> None:
    tasks = dict.fromkeys(("er", "ic", "ks", "sid"), (0.5,))
    run = write_run(scores={"teacher": tasks, "small": tasks})
    order = ["ks", "sid", "ic", "er"]
    (group,) = report_groups([read_board(run)])
    assert [column.title for column in group.columns if column.unit == "%"] == [
        f"{task.upper()} acc." for task in order
    ]
    scores = by_task(shown_scores([read_board(run)]))
    assert list(scores["task"].unique()) == order
    assert [score_title(task, "accuracy") for task in order] == [f"{task.upper()} acc." for task in order]
    assert common_tasks(find_rows(["teacher", "small"], run, run)) == order
