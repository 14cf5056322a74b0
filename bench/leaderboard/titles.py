"""Titles of tasks and scores, and the order of tasks, in every table, figure and page."""

from __future__ import annotations

from collections.abc import Iterable

from bench.leaderboard.score import SUPERB_ANCHORS

TASK_TITLES = {"qbe": "QbE"}
"""Titles of tasks that are not simply the name in capitals."""
METRIC_TITLES = {
    "wer": "WER",
    "cer": "CER",
    "per": "PER",
    "eer": "EER",
    "der": "DER",
    "mtwv": "MTWV",
    "accuracy": "acc.",
    "slot_type_f1": "F1",
    "slot_value_cer": "CER",
}
"""Titles of metrics that are not simply the name."""
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
    return f"{task_title(task)} {METRIC_TITLES.get(metric, metric.replace('_', ' '))}"
