"""A table of the utterances that changed between models, for listening."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.comparison.changes import ChangedUtterance, Changes
from bench.files.atomic import write_atomically
from bench.files.csv_text import csv_text

BETWEEN_SEEDS = " | "

_FIRST_COLUMNS = ("task", "model_a", "model_b", "id", "change", "reference", "prediction_a", "prediction_b")


def write_changed_utterances(found: Sequence[Changes], path: Path) -> int:
    """Write every changed utterance as a row of a CSV. If a task has several primary metrics, the first one counts.

    Columns: task, model_a, model_b, id, change, reference, prediction_a and prediction_b (differing ones of several
    seeds are separated by ``|``), the utterance's value of the metric (``<metric>_a``, ``<metric>_b``), duration_s, and
    the data's own columns.

    Returns:
        The number of rows.
    """
    first_metrics: dict[tuple[str, str], Changes] = {}
    for one in found:
        first_metrics.setdefault((one.task, one.other), one)
    rows = [_row(changes, one) for changes in first_metrics.values() for one in changes.utterances]
    write_atomically(path, csv_text(pd.DataFrame(rows, columns=None if rows else _FIRST_COLUMNS)))
    return len(rows)


def _row(changes: Changes, one: ChangedUtterance) -> dict[str, Any]:
    metric = changes.metric.name
    return {
        "task": changes.task,
        "model_a": changes.first,
        "model_b": changes.other,
        "id": one.id,
        "change": one.kind,
        "reference": one.first.reference,
        "prediction_a": _said(one.first.predictions),
        "prediction_b": _said(one.other.predictions),
        f"{metric}_a": _share(one.first.counts[metric]),
        f"{metric}_b": _share(one.other.counts[metric]),
        "duration_s": one.first.duration_s,
        **one.first.columns,
    }


def _said(predictions: Sequence[Any]) -> Any:
    return predictions[0] if len(set(map(str, predictions))) == 1 else BETWEEN_SEEDS.join(map(str, predictions))


def _share(count: Sequence[float]) -> float | None:
    numerator, denominator = count
    return numerator / denominator if denominator else None
