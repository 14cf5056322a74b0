"""Titles of tasks and scores, and the order of tasks, in every table, figure and page."""

from __future__ import annotations

from collections.abc import Iterable

from bench.leaderboard.score import SUPERB_ANCHORS, SUPERB_METRICS

LONGEST_ABBREVIATION = 4
"""Metrics with names of up to so many letters are abbreviations, such as WER, and are written in capitals."""
TASK_TITLES = {row["task"]: row["task_title"] for row in SUPERB_METRICS}
METRIC_TITLES = {row["metric"]: row["metric_title"] for row in SUPERB_METRICS}
OVERALL_TITLES = {
    "relative_score": "relative score",
    "superb6_score": "SUPERB-6 score",
    "superb_score": "SUPERB score",
}
"""Titles of scores over many tasks."""


def in_order(tasks: Iterable[str]) -> list[str]:
    """Sort tasks: SUPERB's in the order of its leaderboard, then others by name."""
    place = {task: index for index, task in enumerate(SUPERB_ANCHORS)}
    return sorted(set(tasks), key=lambda task: (place.get(task, len(place)), task))


def task_title(task: str) -> str:
    """Return the title of a task."""
    return TASK_TITLES.get(task, task.upper())


def score_title(task: str, metric: str) -> str:
    """Return the title of a score: a task's metric or, without a task, a score over many tasks."""
    if not task:
        return OVERALL_TITLES[metric]
    own = metric.upper() if len(metric) <= LONGEST_ABBREVIATION else metric.replace("_", " ")
    return f"{task_title(task)} {METRIC_TITLES.get(metric, own)}"
