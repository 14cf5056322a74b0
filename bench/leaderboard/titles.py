"""How tasks and scores are called, and in which order tasks stand, in every table, figure and page."""

from __future__ import annotations

from collections.abc import Iterable

from bench.leaderboard.score import SUPERB_ANCHORS

TASK_TITLES = {"qbe": "QbE"}
"""Of tasks whose title is not their name in capitals."""
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
"""Of metrics whose title is not their name."""
OVERALL_TITLES = {
    "relative_score": "relative score",
    "superb6_score": "SUPERB-6 score",
    "superb_score": "SUPERB score",
}
"""Of scores over many tasks."""


def in_order(tasks: Iterable[str]) -> list[str]:
    """Sort tasks: SUPERB's in the order of its leaderboard, then others by name."""
    place = {task: index for index, task in enumerate(SUPERB_ANCHORS)}
    return sorted(set(tasks), key=lambda task: (place.get(task, len(place)), task))


def task_title(task: str) -> str:
    """Title a task."""
    return TASK_TITLES.get(task, task.upper())


def score_title(task: str, metric: str) -> str:
    """Title a score: that of a task by one of its metrics, or, of no task, one over many."""
    if not task:
        return OVERALL_TITLES[metric]
    return f"{task_title(task)} {METRIC_TITLES.get(metric, metric.replace('_', ' '))}"
