"""Scores with their uncertainty: every metric is a ratio of sums over utterances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.counts import accuracy_counts, slot_counts, transcript_counts

NUM_RESAMPLES = 2000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """A metric's share of every test utterance: the score is the sum of one over the sum of the other."""

    numerators: Floats
    denominators: Floats

    def score(self) -> float:
        """Compute the score."""
        return float(self.numerators.sum() / self.denominators.sum())

    def resampled_scores(self, weights: Floats) -> Floats:
        """Compute the score of each resample, given `resampled_weights`."""
        scores: Floats = (weights @ self.numerators) / (weights @ self.denominators)
        return scores


def correct(labels: Sequence[str], predictions: Sequence[str]) -> dict[str, Counts]:
    """Count right answers."""
    return _by_metric(accuracy_counts, labels, predictions)


def word_errors(references: Sequence[str], predictions: Sequence[str]) -> dict[str, Counts]:
    """Count edits and words."""
    counts = _by_metric(transcript_counts, references, predictions)
    return {"wer": counts["wer"]}


def slot_errors(references: Sequence[str], predictions: Sequence[str]) -> dict[str, Counts]:
    """Take s3prl's slot metrics apart."""
    return _by_metric(slot_counts, references, predictions)


def _by_metric(
    count: Callable[[str, str], Mapping[str, Sequence[float]]], references: Sequence[str], predictions: Sequence[str]
) -> dict[str, Counts]:
    rows = [count(*pair) for pair in zip(references, predictions, strict=True)]
    pairs = {metric: np.array([row[metric] for row in rows], dtype=float) for metric in rows[0]}
    return {metric: Counts(values[:, 0], values[:, 1]) for metric, values in pairs.items()}


def mean_counts(counts: Sequence[Counts]) -> Counts:
    """Average over probe seeds."""
    return Counts(
        np.mean([count.numerators for count in counts], axis=0),
        np.mean([count.denominators for count in counts], axis=0),
    )


def resampled_weights(groups: Sequence[str]) -> Floats:
    """Draw bootstrap resamples: how often each utterance is in each, whole groups at a time.

    Args:
        groups: the group of each utterance; an empty name is a group of its own.

    Returns:
        Shape (resamples, utterances); always the same.
    """
    names = [group or f"utterance {index}" for index, group in enumerate(groups)]
    _, members = np.unique(names, return_inverse=True)
    num_groups = members.max() + 1
    draws = np.random.RandomState(0).multinomial(num_groups, np.full(num_groups, 1 / num_groups), NUM_RESAMPLES)
    weights: Floats = draws[:, members].astype(float)
    return weights


def best_constant(candidates: Sequence[str], metric: str, counts_of: Any, references: Sequence[str]) -> str:
    """Choose the one answer that does best when it is always given: what chance is for sequences."""
    lower = metric in LOWER_IS_BETTER

    def merit(candidate: str) -> float:
        counts: Mapping[str, Counts] = counts_of(references, [candidate] * len(references))
        value = counts[metric].score()
        return -value if lower else value

    return max(candidates, key=merit)


LOWER_IS_BETTER = frozenset({"wer", "slot_value_cer"})
