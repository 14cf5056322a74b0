"""Statistics of groups of utterances: how much each group's score changed, and whether it lost more than the others.

Source: Westfall and Young, "Resampling-based multiple testing", 1993 (the maximum of permuted statistics); Bonett and
Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired data", Journal of
Educational and Behavioral Statistics 37(4), 2012 (the two observations added to small samples).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.comparison.bootstrap import CHUNK_DRAWS, NUM_RESAMPLES, SEED, Difference, Floats, paired_differences


def typical_change(counts: Floats) -> float:
    """Measure the typical change of an utterance's numerator, among those that change: 1 for right and wrong answers.

    Args:
        counts: shape (utterances, 2 models, 2): numerator and denominator.

    Returns:
        The root mean square of the changes that are not 0; 0 if there are none.
    """
    changes = counts[:, 1, 0] - counts[:, 0, 0]
    changes = changes[changes != 0]
    return float(np.sqrt(np.mean(changes**2))) if len(changes) else 0.0


def group_difference(counts: Floats, change: float, num_resamples: int = NUM_RESAMPLES) -> Difference:
    """Compare two models on a group that may be small, by the paired bootstrap.

    If the few utterances of a group all agree, a plain bootstrap gives an interval of width 0. So two more observations
    are resampled with them: one made worse and one made better by a typical change. This gives, for example, ten
    answers that all stayed right an interval of about the right width.

    Args:
        counts: of the group, shape (utterances, 2 models, 2).
        change: see `typical_change`, of all utterances.
        num_resamples: number of resamples.
    """
    change = max(change, typical_change(counts))
    numerator, denominator = counts[:, 0].mean(axis=0)
    added = np.array([[[numerator, denominator], [numerator + by, denominator]] for by in (-change, change)])
    (resampled,) = paired_differences(np.concatenate([counts, added]), num_resamples=num_resamples)
    sums = counts.sum(axis=0)
    value = float(sums[1, 0] / sums[1, 1] - sums[0, 0] / sums[0, 1])
    return replace(resampled, value=value)


def p_values_of_losing_more(
    counts: Floats, members: Sequence[Sequence[int]], *, higher_is_better: bool, num_permutations: int = NUM_RESAMPLES
) -> list[float]:
    """Test for every group whether it lost more than the other utterances, by permutations.

    The permuted values are each utterance's deviation from the overall change, divided by the square root of its
    denominator, so that long and short utterances can be exchanged. The p-values are corrected for the number of
    groups: each is how often chance alone would make some group look as bad. Utterances are assumed independent: if
    those of one speaker change together, the p-values of groups with few speakers are too small.

    Args:
        counts: shape (utterances, 2 models, 2).
        members: positions of the utterances of each group; no utterance is in two.
        higher_is_better: of the metric.
        num_permutations: number of permutations.

    Returns:
        One-sided p-values.
    """
    denominators = counts[..., 1].mean(axis=1)
    scored = denominators > 0
    weights = np.sqrt(denominators)
    totals = counts.sum(axis=0)
    about_the_overall = counts[..., 0] - counts[..., 1] * (totals[:, 0] / totals[:, 1])
    changes = (about_the_overall / totals[:, 1]) @ np.array([-1.0, 1.0])
    losses = -changes if higher_is_better else changes
    groups = [[index for index in group if scored[index]] for group in members]
    others = np.setdiff1d(np.flatnonzero(scored), np.concatenate(groups))
    order = np.concatenate([*groups, others]).astype(int)
    sizes = [len(group) for group in groups]
    statistics = _GroupStatistics(weights[order], sizes)
    residuals = losses[order] / weights[order]
    observed = statistics(residuals[None])[0]
    worst = _worst_by_chance(residuals, statistics, num_permutations)
    # Rounding errors must not make equal values differ.
    beyond = (worst[:, None] >= observed - 1e-9 * np.abs(worst).max()).sum(axis=0)
    return [float(count) for count in (beyond + 1) / (num_permutations + 1)]


class _GroupStatistics:
    """Standardised loss of every group, relative to the overall loss."""

    def __init__(self, weights: Floats, sizes: Sequence[int]) -> None:
        self._weights = weights
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        squares = np.concatenate([[0], np.cumsum(weights**2)])
        self._shares = np.diff(squares[self._starts]) / squares[-1]
        self._spreads = np.sqrt(self._shares * (1 - self._shares))

    def __call__(self, residuals: Floats) -> Floats:
        """Compute the statistics from residuals (draws, utterances) in the groups' order: (draws, groups)."""
        sums = np.cumsum(residuals * self._weights, axis=1)
        sums = np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)
        statistics: Floats = (np.diff(sums[:, self._starts], axis=1) - sums[:, -1:] * self._shares) / self._spreads
        return statistics


def _worst_by_chance(residuals: Floats, statistics: _GroupStatistics, num_permutations: int) -> Floats:
    random = np.random.default_rng(SEED)
    chunk = max(1, CHUNK_DRAWS // len(residuals))
    worst = []
    for start in range(0, num_permutations, chunk):
        size = min(chunk, num_permutations - start)
        permuted = random.permuted(np.broadcast_to(residuals, (size, len(residuals))), axis=1)
        worst.append(statistics(permuted).max(axis=1))
    return np.concatenate(worst)
