"""One figure for a model over many tasks: SUPERB's score, and the score relative to a run's own teacher."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib.resources import files
from itertools import groupby
from operator import itemgetter
from statistics import fmean
from typing import NamedTuple

Scores = Mapping[str, Mapping[str, float]]
"""Task to metric to score, all in one unit: percent, or fractions."""


class Anchors(NamedTuple):
    """The two ends of a metric's scale, in percent."""

    fbank: float
    state_of_the_art: float
    """The best result in the SUPERB paper's table."""


with files("bench.leaderboard").joinpath("superb.csv").open(encoding="utf-8") as _file:
    SUPERB_METRICS = tuple(csv.DictReader(_file))
"""The metrics of SUPERB's ten tasks, in the order of its public leaderboard.

Source of ``fbank`` (whose filter banks are not those of the SUPERB paper): DPHuBERT, Interspeech 2023, table 1; of
``state_of_the_art``: STaRHuBERT's table, row SOTA.
"""

SUPERB_ANCHORS: Mapping[str, Mapping[str, Anchors]] = {
    task: {row["metric"]: Anchors(float(row["fbank"]), float(row["state_of_the_art"])) for row in rows}
    for task, rows in groupby(SUPERB_METRICS, key=itemgetter("task"))
}
"""Task to metric to its anchors."""

SIX_TASKS = tuple(dict.fromkeys(row["task"] for row in SUPERB_METRICS if row["is_in_superb6"] == "yes"))
"""The tasks of `superb6_score`."""


def superb_score(scores: Scores) -> float | None:
    """Compute the score of SUPERB's public leaderboard: filter banks have 0, the SUPERB paper's best results 1000.

    Args:
        scores: test scores in percent on SUPERB's corpora with its recipes; the metrics named as in `SUPERB_ANCHORS`.

    Returns:
        1000 times the mean over the ten tasks of each task's mean over its metrics of
        (score - fbank) / (state of the art - fbank); None if one is missing.

    Source: Feng et al., SUPERB @ SLT 2022 (arXiv 2210.08634), "superb_s".
    """
    return _superb_score(scores, tuple(SUPERB_ANCHORS))


def superb6_score(scores: Scores) -> float | None:
    """Compute the same as `superb_score`, over `SIX_TASKS`; the two are not comparable."""
    return _superb_score(scores, SIX_TASKS)


def relative_score(scores: Scores, fbank: Scores, teacher: Scores) -> float | None:
    """Place a model between filter banks (0) and its teacher (100), over the teacher's tasks.

    Args:
        scores: of the model.
        fbank: of filter banks, on the same data.
        teacher: of the teacher, with the metrics that count: each task's primary ones.

    Returns:
        100 times the mean over tasks of each task's mean over its metrics of (score - fbank) / (teacher - fbank). None
        if the model or filter banks lack a score that the teacher has, or if both ends are equal.
    """
    anchors: dict[str, dict[str, tuple[float, float]]] = {}
    for task, metrics in teacher.items():
        for metric, high in metrics.items():
            low = fbank.get(task, {}).get(metric)
            if low is None or low == high:
                return None
            anchors.setdefault(task, {})[metric] = (low, high)
    found = _mean_position(scores, anchors)
    return None if found is None else 100 * found


def _superb_score(scores: Scores, tasks: tuple[str, ...]) -> float | None:
    found = _mean_position(scores, {task: SUPERB_ANCHORS[task] for task in tasks})
    return None if found is None else 1000 * found


def _mean_position(scores: Scores, anchors: Mapping[str, Mapping[str, tuple[float, float]]]) -> float | None:
    """Average over tasks, and within a task over metrics, the position of a score between its two anchors."""
    by_task = []
    for task, metrics in anchors.items():
        if not scores.get(task, {}).keys() >= metrics.keys():
            return None
        by_task.append(fmean((scores[task][metric] - low) / (high - low) for metric, (low, high) in metrics.items()))
    return fmean(by_task) if by_task else None
