"""Intervals over seeds and utterances: closed forms, and how often equal methods are called different."""

from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bench.comparison.bootstrap import paired_differences
from bench.comparison.crossed_effects import method_difference, score_difference, student_interval

Floats = NDArray[np.float64]
NUM_ITEMS, NUM_SEEDS, TRIALS = 480, 3, 400


def answers(right: Floats) -> Floats:
    """Counts of accuracies: (seeds, utterances, 2)."""
    return np.stack([right, np.ones_like(right)], axis=-1)


def method(random: np.random.Generator, hardness: Floats, spread: float, gain: float = 0.0) -> Floats:
    """Draw three compressions of a method, whose scores differ by ``spread`` beyond what utterances explain."""
    own = 0.3 * random.normal(size=NUM_ITEMS)
    skill = random.normal(size=(NUM_SEEDS, 1)) * spread + gain
    noise = random.normal(size=(NUM_SEEDS, NUM_ITEMS))
    return answers((hardness + own + skill + noise > -0.3).astype(float))


def share_called_different(spread: float, gain: float = 0.0, trials: int = TRIALS) -> tuple[float, float]:
    """Count the intervals that exclude 0: over seeds and utterances, and over utterances alone."""
    random = np.random.default_rng(0)
    wide, narrow = 0, 0
    for _ in range(trials):
        hardness = random.normal(size=NUM_ITEMS)
        first, other = method(random, hardness, spread), method(random, hardness, spread, gain)
        wide += method_difference(first, other).is_real
        counts = np.stack([first.mean(axis=0), other.mean(axis=0)], axis=1)
        narrow += paired_differences(counts, num_resamples=200)[0].is_real
    return wide / trials, narrow / trials


@pytest.mark.parametrize("spread", [0.0, 0.04, 0.08, 0.16])
def test_equal_methods_are_called_different_as_rarely_as_the_level_says(spread: float) -> None:
    """In points of accuracy the compressions spread over 0, 1, 2 and 4.5; our own rows over 1 to 4."""
    wide, narrow = share_called_different(spread)
    assert wide <= 0.05 + 2 * sqrt(0.05 * 0.95 / TRIALS)
    if spread == 0.16:
        assert narrow > 0.3


@pytest.mark.parametrize(("spread", "gain", "least"), [(0.04, 0.3, 0.8), (0.08, 0.5, 0.85)])
def test_real_differences_are_found(spread: float, gain: float, least: float) -> None:
    assert share_called_different(spread, gain, trials=100)[0] >= least


def test_equal_methods_differ_rarely_with_two_seeds_and_with_error_rates() -> None:
    random = np.random.default_rng(3)
    words = random.integers(2, 20, size=60).astype(float)

    def rates() -> Floats:
        rate = np.clip(0.2 + 0.03 * random.normal(size=(2, 1)), 0, 1)
        errors = random.binomial(words.astype(int), np.broadcast_to(rate, (2, len(words))))
        return np.stack([errors.astype(float), np.broadcast_to(words, errors.shape)], axis=-1)

    found = [method_difference(rates(), rates()).is_real for _ in range(TRIALS)]
    assert np.mean(found) <= 0.05 + 2 * sqrt(0.05 * 0.95 / TRIALS)


def test_scores_alone_have_welchs_interval() -> None:
    here, there = [0.58, 0.60, 0.57], [0.61, 0.66, 0.62]
    found = score_difference(here, there)
    expected = stats.ttest_ind(there, here, equal_var=False)
    assert found.value == pytest.approx(np.mean(there) - np.mean(here))
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.standard_error == pytest.approx(found.value / expected.statistic)


def test_paired_scores_have_the_paired_interval() -> None:
    here, there = [0.58, 0.70, 0.40], [0.61, 0.72, 0.44]
    found = score_difference(here, there, is_paired=True)
    assert found.p_value == pytest.approx(stats.ttest_rel(there, here).pvalue)
    assert found.is_real
    assert not score_difference(here, there).is_real


def test_fixed_seeds_leave_the_variance_of_the_utterances() -> None:
    """Seeds that all answer alike: what remains is McNemar's variance, with the degrees of the utterances."""
    a = np.repeat([1.0, 1.0, 0.0, 0.0], [700, 90, 60, 150])
    b = np.repeat([1.0, 0.0, 1.0, 0.0], [700, 90, 60, 150])
    found = method_difference(answers(np.stack([a, a])), answers(np.stack([b, b])))
    spread = sqrt((150 - 30**2 / 1000) / 999 / 1000)
    margin = stats.t.ppf(0.975, 999) * spread
    assert (found.low, found.high) == pytest.approx((-0.03 - margin, -0.03 + margin))


def test_one_seed_has_no_interval_over_seeds() -> None:
    one, three = answers(np.ones((1, 20))), answers(np.zeros((3, 20)))
    found = method_difference(one, three)
    assert found.value == -1
    assert isnan(found.low)
    assert not found.has_interval
    assert not score_difference([0.5], [0.7, 0.8]).has_interval


def test_equal_scores_without_any_variance_do_not_differ() -> None:
    right = answers(np.tile([1.0, 0.0], (3, 10)))
    assert method_difference(right, right).p_value == 1
    assert student_interval(0.0, [(0.0, 2)]).is_real is False
