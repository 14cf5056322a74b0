"""The paired bootstrap: is the difference between two models more than chance among the test utterances?

Source: Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004; Holm,
"A simple sequentially rejective multiple test procedure", 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
MIN_UNITS = 10
"""With fewer utterances or speakers there is no interval. With k of them, the bootstrap's variance is on average (k -
1) / k of the true one, and its quantiles come from few distinct values, so the interval is too narrow.

Source: Cameron, Gelbach and Miller, "Bootstrap-based improvements for inference with clustered errors", Review of
Economics and Statistics 90(3), 2008 (tests reject too often with few clusters, 5 to 30).
"""
SEED = 0
CHUNK_DRAWS = 4_000_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A difference between two ratios of sums, with its bootstrap statistics; NaN if there are too few units."""

    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    p_value: float
    """Two-sided: the probability of so large a difference if there is none."""
    standard_error: float = nan
    """Over everything that the interval covers."""

    @property
    def has_interval(self) -> bool:
        """Whether enough units were resampled for an interval and a p-value."""
        return not isnan(self.p_value)

    @property
    def is_real(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def resampled_sums(values: Floats, num_resamples: int = NUM_RESAMPLES) -> Floats:
    """Sum the columns over resamples of the rows, drawn with replacement. The draws are always the same.

    Args:
        values: shape (units, columns).
        num_resamples: number of resamples.

    Returns:
        Shape (resamples, columns).
    """
    random = np.random.default_rng(SEED)
    num_units = len(values)
    chunk = max(1, CHUNK_DRAWS // num_units)
    sums = []
    for start in range(0, num_resamples, chunk):
        size = min(chunk, num_resamples - start)
        # Each resample has its own range of numbers, so that one count serves all of them.
        draws = random.integers(num_units, size=(size, num_units)) + num_units * np.arange(size)[:, None]
        times_drawn = np.bincount(draws.ravel(), minlength=size * num_units).reshape(size, num_units)
        sums.append(times_drawn.astype(float) @ values)
    return np.concatenate(sums)


def paired_differences(counts: Floats, min_units: int = 0, num_resamples: int = NUM_RESAMPLES) -> list[Difference]:
    """Compare every further model with the first one, on the same resamples.

    Args:
        counts: shape (units, models, 2): numerator and denominator of every unit (an utterance or a speaker).
        min_units: with fewer units there is no interval, see `MIN_UNITS`.
        num_resamples: number of resamples.

    Returns:
        The difference of each further model's ratio of sums from the first one's, without an interval if there are too
        few units.
    """
    num_units, num_models, _ = counts.shape
    scores = _ratios(counts.sum(axis=0))
    if num_units < min_units:
        return [Difference(float(score - scores[0]), nan, nan, nan) for score in scores[1:]]
    sums = resampled_sums(counts.reshape(num_units, -1), num_resamples).reshape(-1, num_models, 2)
    # Drop resamples without a score: all of their units have a denominator of 0 (utterances without a slot).
    resampled = _ratios(sums[(sums[..., 1] > 0).all(axis=1)])
    return [
        _difference(float(scores[model] - scores[0]), resampled[:, model] - resampled[:, 0])
        for model in range(1, num_models)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests, so that one false alarm among them all is as unlikely as in one test.

    A test without a p-value (NaN) does not count and gets none.
    """
    known = [value for value in p_values if not isnan(value)]
    adjusted = iter(_holm(known))
    return [nan if isnan(value) else next(adjusted) for value in p_values]


def _holm(p_values: Sequence[float]) -> list[float]:
    order = np.argsort(p_values)
    remaining = np.arange(len(p_values), 0, -1)
    adjusted = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * remaining))
    result = np.empty(len(p_values))
    result[order] = adjusted
    return [float(value) for value in result]


def _ratios(sums: Floats) -> Floats:
    ratios: Floats = sums[..., 0] / sums[..., 1]
    return ratios


def _difference(value: float, resampled: Floats) -> Difference:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    beyond = min((resampled <= 0).sum(), (resampled >= 0).sum())
    # The observed sample counts as one more resample, so that no p-value is 0.
    p_value = min(1.0, 2 * (int(beyond) + 1) / (len(resampled) + 1))
    return Difference(value, float(low), float(high), p_value, float(resampled.std(ddof=1)))
