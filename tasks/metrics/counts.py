"""Each utterance's contribution to a metric. Every metric here is a ratio of sums over utterances.

Stored with each prediction, so two models can be compared utterance by utterance, see `bench.comparison.compare`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.metrics.error_rates import character_counts, word_counts

Counts = dict[str, list[float]]
"""Maps each metric to its numerator and denominator."""


def accuracy_counts(reference: object, prediction: object) -> Counts:
    """Count a correct answer."""
    return {"accuracy": [int(reference == prediction), 1]}


def transcript_counts(reference: str, prediction: str) -> Counts:
    """Count the edits and lengths of the word and character error rates."""
    return {"wer": word_counts(reference, prediction), "cer": character_counts(reference, prediction)}


def phone_counts(reference: str, prediction: str) -> Counts:
    """Count the edits and the length of the phone error rate."""
    return {"per": word_counts(reference, prediction)}


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Score predictions: for every metric, the sum of numerators divided by the sum of denominators."""
    return {
        metric: sum(row["counts"][metric][0] for row in rows) / sum(row["counts"][metric][1] for row in rows)
        for metric in rows[0]["counts"]
    }


def with_unit_weight(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Scale the counts of a fold so that the ratio of sums over folds is the mean of the folds' scores.

    Args:
        rows: predictions of one fold, on ``dev`` and ``test``.

    Returns:
        The rows, with counts whose denominators sum to 1 in each split and metric.
    """
    totals: Counter[tuple[str, str]] = Counter()
    for row in rows:
        totals.update({(row["split"], metric): denominator for metric, (_, denominator) in row["counts"].items()})
    return [
        {
            **row,
            "counts": {
                metric: [value / totals[row["split"], metric] for value in pair]
                for metric, pair in row["counts"].items()
            },
        }
        for row in rows
    ]
