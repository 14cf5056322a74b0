"""Maximum term-weighted values: hand-made scores, and the definition evaluated threshold by threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.metrics.term_weighted_value import FALSE_ALARM_WEIGHT, maximum_term_weighted_value

BETA = (1 / 0.0008 - 1) / 100


def by_definition(scores: np.ndarray, is_match: np.ndarray, num_queries: int, num_documents: int) -> float:
    """NIST's formula at every score as a threshold, with the default score -10 for what was not searched."""
    best = 0.0
    for threshold in {*scores.ravel().tolist()}:
        value = 0.0
        for row, matches in zip(scores, is_match, strict=True):
            if matches.any():
                misses = np.mean(row[matches] < threshold)
                alarms = np.sum(row[~matches] >= threshold) / (num_documents - matches.sum())
                value += 1 - misses - BETA * alarms
        best = max(best, value / num_queries)
    return best


def test_the_weight_of_false_alarms_is_quessts() -> None:
    """`score-TWV-Cnxe.sh` gives its scorer the prior 0.0741289, which has the same odds."""
    assert pytest.approx(12.49) == FALSE_ALARM_WEIGHT
    assert pytest.approx(0.0741289, abs=1e-7) == 1 / (1 + FALSE_ALARM_WEIGHT)


@pytest.mark.parametrize(
    ("scores", "value", "threshold"),
    [
        # Both matches first: nothing is missed, nothing is a false alarm.
        ([3.0, 2.0, 1.0, 0.0], 1.0, 2.0),
        # One match first: accepting one misses one half, accepting more has a false alarm of beta / 2.
        ([3.0, 1.0, 2.0, 0.0], 0.5, 3.0),
        # No match first: accepting nothing is best.
        ([1.0, 0.0, 3.0, 2.0], 0.0, math.inf),
        # A tie with a document that does not match is a false alarm.
        ([1.0, 1.0, 1.0, 1.0], 0.0, math.inf),
    ],
)
def test_one_query_with_two_of_four_documents(scores: list[float], value: float, threshold: float) -> None:
    found = maximum_term_weighted_value(np.array([scores]), np.array([[True, True, False, False]]), [2], 1, 4)
    assert found == (pytest.approx(value), threshold)


def test_what_was_not_searched_counts_as_missed() -> None:
    """SUPERB searches for English queries only, and scores all languages."""
    scores, is_match = np.array([[3.0, 1.0, 0.0]]), np.array([[True, False, False]])
    assert maximum_term_weighted_value(scores, is_match, [1], 4, 10).value == pytest.approx(1 / 4)
    assert maximum_term_weighted_value(scores, is_match, [2], 4, 10).value == pytest.approx(1 / 8)


def test_queries_without_a_match_are_left_out() -> None:
    scores, is_match = np.array([[3.0, 1.0], [9.0, 8.0]]), np.array([[True, False], [False, False]])
    assert maximum_term_weighted_value(scores, is_match, [1, 0], 1, 2).value == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(8))
def test_random_scores_by_the_definition(seed: int) -> None:
    random = np.random.default_rng(seed)
    is_match = random.random((6, 50)) < 0.1
    # Rounded, so that some scores are equal.
    scores = np.round(random.standard_normal((6, 50)) + 3 * is_match, 1)
    counts = is_match.sum(axis=1).tolist()
    found = maximum_term_weighted_value(scores, is_match, counts, 9, 70)
    assert found.value == pytest.approx(by_definition(scores, is_match, 9, 70), abs=1e-12)
