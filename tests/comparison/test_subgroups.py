"""Statistics of groups of utterances: coverage of their intervals, false alarms, and effects that are there."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.comparison.subgroups import group_difference, p_values_of_losing_more, typical_change

Floats = NDArray[np.float64]


def answers(before: Floats, now: Floats) -> Floats:
    """Counts of accuracies: (utterances, 2 models, 2)."""
    right = np.stack([before, now], axis=1)
    return np.stack([right, np.ones_like(right)], axis=2)


def errors(words: Floats, before: Floats, now: Floats) -> Floats:
    """Counts of word error rates."""
    return np.stack([np.stack([before, words], axis=1), np.stack([now, words], axis=1)], axis=1)


def three_standard_deviations(rate: float, trials: int) -> float:
    return 3 * float(np.sqrt(rate * (1 - rate) / trials))


class TestInterval:
    @pytest.mark.parametrize("num_utterances", [5, 10, 40])
    @pytest.mark.parametrize(("share_broken", "share_mended"), [(0.05, 0.0), (0.2, 0.05), (0.5, 0.1)])
    def test_covers_the_truth_in_small_groups(
        self, num_utterances: int, share_broken: float, share_mended: float
    ) -> None:
        random = np.random.default_rng(num_utterances)
        trials, covered = 150, 0
        for _ in range(trials):
            chance = random.random(num_utterances)
            before = (chance < 0.7).astype(float)
            now = before - (chance < share_broken) + (chance > 1 - share_mended)
            found = group_difference(answers(before, now), change=1.0)
            covered += found.low <= share_mended - share_broken <= found.high
        assert covered / trials > 0.95 - three_standard_deviations(0.95, trials)

    def test_ten_answers_that_all_stayed_right_are_no_proof(self) -> None:
        right = np.ones(10)
        found = group_difference(answers(right, right), change=1.0)
        assert found.value == 0
        # By the rule of three, a tenth of ten may hide up to 26 %.
        assert found.low < -0.15
        assert found.high > 0.15

    def test_holds_the_difference_where_one_group_alone_changed_much(self) -> None:
        words = np.full(8, 20.0)
        found = group_difference(errors(words, np.ones(8), np.full(8, 15.0)), change=0.5)
        assert found.value == pytest.approx(0.7)
        assert found.low < found.value <= found.high + 1e-9

    def test_many_utterances_need_no_help(self) -> None:
        before = np.repeat([1.0, 1.0, 0.0, 0.0], [700, 90, 60, 150])
        now = np.repeat([1.0, 0.0, 1.0, 0.0], [700, 90, 60, 150])
        found = group_difference(answers(before, now), change=1.0)
        spread = np.sqrt(90 + 60 - (90 - 60) ** 2 / 1000) / 1000
        assert (found.low, found.high) == pytest.approx((-0.03 - 1.96 * spread, -0.03 + 1.96 * spread), abs=0.001)

    def test_typical_change(self) -> None:
        assert typical_change(answers(np.array([1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0]))) == 1
        assert typical_change(answers(np.ones(3), np.ones(3))) == 0


class TestLosingMore:
    @staticmethod
    def false_alarms(
        draw: Callable[[np.random.Generator, list[int]], Floats], sizes: list[int], trials: int = 200
    ) -> float:
        random = np.random.default_rng(7)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        members = [list(range(start, end)) for start, end in pairwise(starts)]
        alarms = [
            min(p_values_of_losing_more(draw(random, sizes), members, higher_is_better=False, num_permutations=500))
            for _ in range(trials)
        ]
        return float(np.mean(np.array(alarms) < 0.05))

    def test_false_alarms_are_rare_where_all_lose_alike(self) -> None:
        """Among all groups of a column, of unequal size."""

        def draw(random: np.random.Generator, sizes: list[int]) -> Floats:
            wrong = (random.random((sum(sizes), 2)) < (0.2, 0.35)).astype(float)
            return answers(wrong[:, 0], wrong[:, 1])

        share = self.false_alarms(draw, [5] * 10 + [20] * 5 + [60])
        assert 0.005 < share < 0.05 + three_standard_deviations(0.05, 200)

    def test_long_utterances_are_no_false_alarm(self) -> None:
        """Word errors of ten long sentences among 190 short ones, all of which lose alike."""
        random = np.random.default_rng(8)
        words = np.repeat([60, 3], [10, 190])
        alarms = [
            p_values_of_losing_more(
                errors(words.astype(float), random.binomial(words, 0.1), random.binomial(words, 0.2)),
                [list(range(10))],
                higher_is_better=False,
                num_permutations=500,
            )[0]
            < 0.05
            for _ in range(200)
        ]
        assert np.mean(alarms) < 0.05 + three_standard_deviations(0.05, 200)

    def test_the_broken_group_is_found_and_no_other(self) -> None:
        random = np.random.default_rng(3)
        wrong = (random.random((300, 2)) < 0.1).astype(float)
        wrong[40:50, 1] = 1
        members = [list(range(start, start + 10)) for start in range(0, 300, 10)]
        p_values = p_values_of_losing_more(answers(wrong[:, 0], wrong[:, 1]), members, higher_is_better=False)
        assert [index for index, p_value in enumerate(p_values) if p_value < 0.05] == [4]
        right = answers(1 - wrong[:, 0], 1 - wrong[:, 1])
        assert p_values_of_losing_more(right, members, higher_is_better=True) == pytest.approx(p_values)

    def test_gains_are_no_losses(self) -> None:
        wrong = np.zeros((100, 2))
        wrong[:20, 0] = 1
        p_values = p_values_of_losing_more(
            answers(wrong[:, 0], wrong[:, 1]), [list(range(20)), list(range(20, 60))], higher_is_better=False
        )
        assert p_values[0] > 0.5

    def test_nothing_changed(self) -> None:
        same = answers(np.ones(20), np.ones(20))
        assert p_values_of_losing_more(same, [list(range(10)), list(range(10, 20))], higher_is_better=True) == [1, 1]

    def test_utterances_without_a_denominator_say_nothing(self) -> None:
        words = np.array([10.0] * 40 + [0.0] * 10)
        now = np.array([5.0] * 10 + [1.0] * 30 + [0.0] * 10)
        counts = errors(words, np.minimum(1, words), now)
        groups = [[*range(10), *range(40, 45)], [*range(10, 20), *range(45, 50)]]
        without = p_values_of_losing_more(counts[:40], [list(range(10)), list(range(10, 20))], higher_is_better=False)
        assert p_values_of_losing_more(counts, groups, higher_is_better=False) == without
        assert without[0] < 0.01
