"""Is the difference between two methods more than chance among compressions, heads' seeds and test utterances?

Every seed of a method (a compression, or a head on one model) is scored on the same utterances, as readers of medical
images all judge the same cases. A score varies with the seed, with the utterances, and with both together. The three
variances are estimated from the counts. The interval is that of Student's t with Satterthwaite's degrees of freedom: it
keeps its level with two or three seeds, where a bootstrap over the seeds does not.

Source: Obuchowski and Rockette, "Hypothesis testing of diagnostic accuracy for multiple readers and multiple tests",
Communications in Statistics 24(2), 1995; Hillis, "A marginal-mean ANOVA approach for analyzing multireader multicase
radiological imaging data", Statistics in Medicine 33(2), 2014 (readers of one test each, few readers); Satterthwaite,
"An approximate distribution of estimates of variance components", Biometrics Bulletin 2(6), 1946.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, sqrt

import numpy as np
from scipy.stats import t as student_t

from bench.comparison.bootstrap import CONFIDENCE, Difference, Floats

Component = tuple[float, float]
"""A variance and its degrees of freedom."""


def method_difference(first: Floats, other: Floats, *, is_paired: bool = False) -> Difference:
    """Compare two methods by the counts of all their seeds.

    Args:
        first: shape (seeds, units, 2): numerator and denominator of every unit (an utterance or a speaker).
        other: the same units; its seeds may differ in value and number.
        is_paired: both have the same seeds, and seed k of one was made from seed k of the other. Otherwise seeds count
            as independent, which is conservative if they agree.

    Returns:
        The difference of ``other``'s mean score from ``first``'s; without an interval if either has one seed.
    """
    first_scores, first_shares = _scores_and_shares(first)
    other_scores, other_shares = _scores_and_shares(other)
    value = float(other_scores.mean() - first_scores.mean())
    if min(len(first), len(other)) < 2:
        return Difference(value, nan, nan, nan)
    if is_paired:
        seeds = [_seed_component(other_scores - first_scores, other_shares - first_shares)]
    else:
        seeds = [_seed_component(first_scores, first_shares), _seed_component(other_scores, other_shares)]
    interactions = sum(interaction for _, interaction in seeds)
    of_utterances = _utterance_variance(other_shares.mean(axis=0) - first_shares.mean(axis=0))
    utterances = max(0.0, of_utterances - interactions), first.shape[1] - 1
    return student_interval(value, [*(component for component, _ in seeds), utterances])


def score_difference(first: Sequence[float], other: Sequence[float], *, is_paired: bool = False) -> Difference:
    """Compare two methods by the scores of their seeds only, on the given utterances.

    Source: Welch, "The generalization of Student's problem when several different population variances are involved",
    Biometrika 34, 1947.

    Args:
        first: one score per seed.
        other: one score per seed.
        is_paired: see `method_difference`.

    Returns:
        The difference of ``other``'s mean from ``first``'s; without an interval if either has one seed.
    """
    here, there = np.asarray(first, float), np.asarray(other, float)
    value = float(there.mean() - here.mean())
    if min(len(here), len(there)) < 2:
        return Difference(value, nan, nan, nan)
    parts = [there - here] if is_paired else [here, there]
    return student_interval(value, [(_variance_of_mean(scores), len(scores) - 1) for scores in parts])


def student_interval(value: float, components: Sequence[Component]) -> Difference:
    """Compute the interval of a value whose variance is a sum of estimates, each with its degrees of freedom."""
    variance = sum(part for part, _ in components)
    if variance == 0:
        return Difference(value, value, value, 1.0 if value == 0 else 0.0, 0.0)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in components)
    spread = sqrt(variance)
    margin = float(student_t.ppf((1 + CONFIDENCE) / 2, freedom)) * spread
    p_value = float(2 * student_t.sf(abs(value) / spread, freedom))
    return Difference(value, value - margin, value + margin, p_value, spread)


def _scores_and_shares(counts: Floats) -> tuple[Floats, Floats]:
    """Compute every seed's score, and each unit's influence on it (the linear part of a ratio of sums).

    Returns:
        Shapes (seeds,) and (seeds, units).
    """
    totals = counts.sum(axis=1)
    scores: Floats = totals[:, 0] / totals[:, 1]
    shares: Floats = (counts[..., 0] - scores[:, None] * counts[..., 1]) / totals[:, 1, None]
    return scores, shares


def _seed_component(scores: Floats, shares: Floats) -> tuple[Component, float]:
    """Estimate the variance of a mean over seeds on fixed utterances, and the part of the interaction with utterances.

    The latter is a lower bound of the former, whose estimate from few seeds may be small by chance.
    """
    num_seeds = len(scores)
    interaction = sum(_utterance_variance(share) for share in shares - shares.mean(axis=0)) / (
        num_seeds * (num_seeds - 1)
    )
    return (max(_variance_of_mean(scores), interaction), num_seeds - 1), interaction


def _variance_of_mean(scores: Floats) -> float:
    return float(scores.var(ddof=1)) / len(scores)


def _utterance_variance(shares: Floats) -> float:
    """Estimate the variance of a sum over randomly drawn units."""
    num_units = len(shares)
    return float(num_units / (num_units - 1) * (shares**2).sum())
