"""The paired bootstrap against what statistics knows in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.comparison.bootstrap import holm, paired_differences, resampled_sums

Z = 1.959964


def answers(*right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts of accuracies: (utterances, models, 2)."""
    return np.stack([np.stack([one, np.ones_like(one)], axis=1) for one in right], axis=1)


def test_accuracies_have_mcnemars_interval() -> None:
    """90 utterances that only A has right, 60 that only B has, of 1000: the difference of paired proportions."""
    a = np.repeat([1.0, 1.0, 0.0, 0.0], [700, 90, 60, 150])
    b = np.repeat([1.0, 0.0, 1.0, 0.0], [700, 90, 60, 150])
    (difference,) = paired_differences(answers(a, b))
    assert difference.value == pytest.approx(-0.03)
    spread = np.sqrt(90 + 60 - (90 - 60) ** 2 / 1000) / 1000
    assert difference.low == pytest.approx(-0.03 - Z * spread, abs=0.001)
    assert difference.high == pytest.approx(-0.03 + Z * spread, abs=0.001)
    # The two-sided tail of a normal distribution beyond 0.03 / spread = 2.46.
    assert difference.p_value == pytest.approx(0.0139, abs=0.004)
    assert difference.standard_error == pytest.approx(spread, rel=0.05)
    assert difference.is_real


def test_pairing_finds_what_unpaired_intervals_would_miss() -> None:
    a = np.repeat([1.0, 0.0], [500, 500])
    b = np.repeat([1.0, 0.0], [510, 490])
    (difference,) = paired_differences(answers(a, b))
    assert difference.is_real
    assert difference.high - difference.low < 0.02 < 2 * Z * np.sqrt(2 * 0.25 / 1000)


def test_equal_models_do_not_differ() -> None:
    right = np.tile([1.0, 0.0, 1.0], 40)
    (difference,) = paired_differences(answers(right, right))
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert difference.p_value == 1
    assert not difference.is_real


def test_error_rates_are_ratios_of_sums_not_means_of_ratios() -> None:
    words = np.array([1.0, 9.0] * 50)
    counts = np.stack([np.stack([errors, words], axis=1) for errors in (np.tile([1.0, 0], 50), np.zeros(100))], axis=1)
    (difference,) = paired_differences(counts)
    assert difference.value == pytest.approx(-0.1)


def test_all_models_are_compared_with_the_first() -> None:
    first, second, third = (np.repeat([1.0, 0.0], [right, 100 - right]) for right in (50, 70, 20))
    differences = paired_differences(answers(first, second, third))
    assert [round(difference.value, 6) for difference in differences] == [0.2, -0.3]
    assert differences[1] == paired_differences(answers(first, third))[0]


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Two models with a true difference of 0.1 on answers that are right together more often than by chance."""
    random = np.random.default_rng(1)
    trials, covered = 300, 0
    for _ in range(trials):
        hardness = random.random(200)
        a = (hardness < 0.5).astype(float)
        b = ((hardness < 0.55) | (random.random(200) < 1 / 9)).astype(float)
        (difference,) = paired_differences(answers(a, b), num_resamples=1000)
        covered += difference.low <= 0.1 <= difference.high
    # 95 % less three standard deviations of 300 trials.
    assert covered / trials > 0.95 - 3 * np.sqrt(0.95 * 0.05 / trials)


def test_false_alarms_are_as_rare_as_the_p_value_says() -> None:
    random = np.random.default_rng(2)
    alarms = [
        paired_differences(answers(*(random.random((2, 100)) < 0.7).astype(float)), num_resamples=1000)[0]
        for _ in range(300)
    ]
    assert np.mean([alarm.p_value < 0.05 for alarm in alarms]) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean([alarm.is_real for alarm in alarms]) > 0.01


def test_resamples_have_as_many_units_and_repeat_themselves() -> None:
    values = np.stack([np.ones(37), np.arange(37.0)], axis=1)
    sums = resampled_sums(values, num_resamples=5000)
    assert (sums[:, 0] == 37).all()
    assert sums[:, 1].mean() == pytest.approx(values[:, 1].sum(), rel=0.01)
    assert sums[:, 1].std() == pytest.approx(np.sqrt(37) * values[:, 1].std(), rel=0.05)
    assert np.array_equal(sums, resampled_sums(values, num_resamples=5000))


def test_holms_correction() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_resamples_without_a_denominator_do_not_count() -> None:
    """Half of the utterances have no slot; of four, one resample in 16 has none at all."""
    edits, characters = np.array([2.0, 4.0, 0.0, 0.0]), np.array([10.0, 10.0, 0.0, 0.0])
    counts = np.stack([np.stack([errors, characters], axis=1) for errors in (edits, 2 * edits)], axis=1)
    (difference,) = paired_differences(counts)
    assert (difference.low, difference.value, difference.high) == pytest.approx((0.2, 0.3, 0.4))
    assert difference.p_value < 0.001
