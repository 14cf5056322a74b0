"""Scores with their uncertainty: every metric is a ratio of sums over utterances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import jiwer
import numpy as np
from numpy.typing import NDArray

from tasks import s3prl_compat

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
    right = np.array([label == said for label, said in zip(labels, predictions, strict=True)], dtype=float)
    return {"accuracy": Counts(right, np.ones_like(right))}


def word_errors(references: Sequence[str], predictions: Sequence[str]) -> dict[str, Counts]:
    """Count edits and words."""
    measures = [jiwer.process_words(*pair) for pair in zip(references, predictions, strict=True)]
    edits = [measure.substitutions + measure.deletions + measure.insertions for measure in measures]
    words = [measure.hits + measure.substitutions + measure.deletions for measure in measures]
    return {"wer": Counts(np.array(edits, dtype=float), np.array(words, dtype=float))}


def slot_errors(references: Sequence[str], predictions: Sequence[str]) -> dict[str, Counts]:
    """Take s3prl's slot-type F1 (a mean over utterances) and slot-value CER (edits by characters) apart."""
    s3prl_compat.install()
    metric: Any = import_module("s3prl.metric.slot_filling")
    f1 = [metric.slot_type_f1([said], [meant]) for meant, said in zip(references, predictions, strict=True)]
    characters, edits = [], []
    for meant, said in zip(references, predictions, strict=True):
        slots, _ = metric.get_slot_dict(meant, meant)
        length = sum(len(value) for values in slots.values() for value in values)
        characters.append(length)
        edits.append(round(metric.slot_value_cer([said], [meant]) * length) if length else 0)
    return {
        "slot_type_f1": Counts(np.array(f1), np.ones(len(f1))),
        "slot_value_cer": Counts(np.array(edits, dtype=float), np.array(characters, dtype=float)),
    }


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
