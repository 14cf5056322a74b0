"""How many test utterances and seeds a score comes from, and how far chance alone may move it."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, variance

from bench.contracts import Metric
from bench.store.records import Record

LARGEST_COUNT = 10**9
"""Most utterances of a split; a record with more is damaged, and its number counts as unknown."""
LARGEST_VARIANCE = 0.25
"""The largest variance of any value between 0 and 1 (Popoviciu's inequality)."""


def num_utterances(record: Record, split: str) -> int | None:
    """Count the utterances of a split that a record was scored on, over all folds.

    Returns:
        None if the task does not report it, which tasks of other packages need not.
    """
    folds = record.settings.get("folds")
    parts = list(folds.values()) if isinstance(folds, dict) and folds else [record.settings]
    counts = [part.get(f"num_{split}_utterances") if isinstance(part, dict) else None for part in parts]
    known = [count for count in counts if isinstance(count, int) and 0 < count <= LARGEST_COUNT]
    return sum(known) if len(known) == len(counts) else None


def standard_error(scores: Sequence[float], counts: Sequence[int], metric: Metric) -> float:
    """Estimate the standard error of one model's score on one task, a fraction.

    Two independent sources add up. Another test set: a score is a mean over n utterances of values between 0 and 1, so
    its variance is at most p (1 - p) / n, and exactly that for accuracies of one seed. Error rates can exceed 1, so
    above one half they count as 1/4. Other seeds: the sample variance over k seeds, divided by k. One seed contributes
    nothing, and utterances contribute nothing if their number is unknown.

    The estimate is too large rather than too small for the difference between two models, because both are scored on
    the same utterances.

    Args:
        scores: of one model and task, a fraction for each seed.
        counts: the known numbers of utterances behind them.
        metric: of the task.

    Source: Miller, "Adding error bars to evals", 2024 (arXiv 2411.00640), equations 1 and 2 and section 3; Bhatia and
    Davis, "A better bound on the variance", American Mathematical Monthly 107(4), 2000.
    """
    score = fmean(scores)
    is_open_ended = not metric.higher_is_better and score > 0.5
    bound = LARGEST_VARIANCE if is_open_ended else max(0.0, score * (1 - score))
    from_utterances = bound / min(counts) if counts else 0.0
    from_seeds = variance(scores) / len(scores) if len(scores) > 1 else 0.0
    return sqrt(from_utterances + from_seeds)
