"""One figure for a model over many tasks: SUPERB's score, and the score relative to a run's own teacher."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from types import MappingProxyType
from typing import NamedTuple

Scores = Mapping[str, Mapping[str, float]]
"""Task to metric to score, all in one unit: percent, or fractions."""


class Anchors(NamedTuple):
    """The two ends of a metric's scale, in percent."""

    fbank: float
    state_of_the_art: float
    """The best result in the SUPERB paper's table."""


SUPERB_ANCHORS: Mapping[str, Mapping[str, Anchors]] = MappingProxyType(
    {
        "pr": {"per": Anchors(82.01, 3.53)},
        "asr": {"wer": Anchors(23.18, 3.62)},
        "ks": {"accuracy": Anchors(41.38, 96.66)},
        "qbe": {"mtwv": Anchors(0.58, 7.36)},
        "sid": {"accuracy": Anchors(20.06, 90.33)},
        "asv": {"eer": Anchors(9.56, 5.11)},
        "sd": {"der": Anchors(10.05, 5.62)},
        "ic": {"accuracy": Anchors(9.65, 98.76)},
        "sf": {"slot_type_f1": Anchors(69.64, 89.81), "slot_value_cer": Anchors(52.94, 21.76)},
        "er": {"accuracy": Anchors(48.24, 67.62)},
    }
)
"""Anchors of SUPERB's ten tasks and their metrics on the public leaderboard, whose filter banks are not those of the
SUPERB paper.

Source: filter banks: DPHuBERT, Interspeech 2023, table 1; state of the art: STaRHuBERT's table, row SOTA.
"""

SIX_TASKS = ("asr", "ks", "sid", "er", "ic", "sf")
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
