"""Models' predictions for every utterance of a split, with all seeds combined."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bench.comparison.rows import Row, refuse_differences
from bench.contracts import Metric
from bench.errors import UserError
from bench.leaderboard.titles import in_order
from bench.store.records import Prediction, Record

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Utterance:
    """The results of one model's seeds on one utterance."""

    reference: Any
    predictions: tuple[Any, ...]
    """Predictions of every seed; an utterance that occurs several times (in folds) has several per seed."""
    share_correct: float
    """Share of the predictions that are correct."""
    counts_by_seed: Mapping[str, Sequence[Sequence[float]]]
    """Metric to the numerator and denominator of each seed."""
    duration_s: float | None
    """None if the task does not report it."""
    columns: Mapping[str, Any]
    """Other columns of the data, such as ``speaker``."""

    @property
    def counts(self) -> dict[str, list[float]]:
        """Metric to numerator and denominator, averaged over the seeds."""
        return {
            metric: [fmean(parts) for parts in zip(*seeds, strict=True)]
            for metric, seeds in self.counts_by_seed.items()
        }

    @property
    def is_correct(self) -> bool:
        """Whether more than half of its predictions are right."""
        return self.share_correct > 0.5


def common_tasks(rows: Sequence[Row]) -> list[str]:
    """List the tasks that all rows have, in their order; log a warning about the others.

    Raises:
        UserError: there is none.
    """
    common = in_order(set.intersection(*(set(row.records) for row in rows)))
    if not common:
        raise UserError(f"{', '.join(row.name for row in rows)} have no task in common. Evaluate them on one.")
    for task in sorted({task for row in rows for task in row.records} - set(common)):
        logger.warning("%s: left out, because not all models have it", task)
    return common


def comparable_records(rows: Sequence[Row], task: str) -> list[list[Record]]:
    """Select every row's records of the seeds that all rows have.

    Raises:
        UserError: no seed in common, or scores that differ for other reasons than the model.
    """
    seeds = _common_seeds(rows, task)
    chosen = [[row.records[task][seed] for seed in seeds] for row in rows]
    for row, records in zip(rows[1:], chosen[1:], strict=True):
        settings = (rows[0].task_settings.get(task), row.task_settings.get(task))
        refuse_differences(chosen[0][0], records[0], settings, (rows[0].name, row.name))
    return chosen


def paired_utterances(
    rows: Sequence[Row], records: Sequence[Sequence[Record]], split: str, metrics: Iterable[Metric]
) -> list[dict[str, Utterance]]:
    """Read every row's predictions for the same utterances.

    Args:
        rows: two or more.
        records: of every row, one per seed, all of one task.
        split: of the utterances.
        metrics: metrics that need counts.

    Returns:
        For every row: id to utterance, sorted by id.

    Raises:
        UserError: predictions that cannot be read, have no counts, or are of other utterances.
    """
    names = [metric.name for metric in metrics]
    paired = [_utterances(row, chosen, split, names) for row, chosen in zip(rows, records, strict=True)]
    for row, utterances in zip(rows[1:], paired[1:], strict=True):
        where = f"{rows[0].name} and {row.name} on {records[0][0].cell.task}"
        _refuse_other_utterances(paired[0], utterances, where)
    return paired


def _common_seeds(rows: Sequence[Row], task: str) -> tuple[int, ...]:
    seeds = [set(row.records[task]) for row in rows]
    common = sorted(set.intersection(*seeds))
    found_seeds = ", ".join(
        f"{row.name}: {' '.join(map(str, sorted(found)))}" for row, found in zip(rows, seeds, strict=True)
    )
    if not common:
        raise UserError(
            f"The models have no seed of {task} in common ({found_seeds}). Evaluate them with the same --seeds."
        )
    if any(len(found) > len(common) for found in seeds):
        logger.warning("%s: only the seeds that all have are compared (%s)", task, found_seeds)
    return tuple(common)


def _utterances(row: Row, records: Sequence[Record], split: str, metrics: Sequence[str]) -> dict[str, Utterance]:
    found: dict[str, list[list[Prediction]]] = {}
    for position, record in enumerate(records):
        predictions = [one for one in row.store.predictions(record.cell) if one.split == split]
        _require_counts(predictions, metrics, row, record, split)
        for prediction in predictions:
            found.setdefault(prediction.id, [[] for _ in records])[position].append(prediction)
    return {name: _utterance(found[name]) for name in sorted(found)}


def _require_counts(
    predictions: Sequence[Prediction], metrics: Sequence[str], row: Row, record: Record, split: str
) -> None:
    for metric in metrics:
        counts = [(one.counts or {}).get(metric) for one in predictions]
        # Single utterances may have nothing to count, but not all of them.
        if None in counts or not any(count and count[1] > 0 for count in counts):
            raise UserError(
                f"Expected counts of {metric} in the predictions of {row.name}, {record.cell}, {split}. Found none: an "
                f"earlier version, or a task without them, wrote these. Delete {row.store.path(record.cell)}, and run "
                "again."
            )


def _utterance(by_seed: Sequence[Sequence[Prediction]]) -> Utterance:
    predictions = [prediction for one_seed in by_seed for prediction in one_seed]
    first = predictions[0]
    return Utterance(
        reference=first.reference,
        predictions=tuple(one.prediction for one in predictions),
        share_correct=sum(bool(one.correct) for one in predictions) / len(predictions),
        counts_by_seed={metric: [_summed(one_seed, metric) for one_seed in by_seed] for metric in first.counts or {}},
        duration_s=first.duration_s,
        columns=first.columns,
    )


def _summed(predictions: Sequence[Prediction], metric: str) -> list[float]:
    """Sum the numerators and the denominators of the predictions that have them."""
    counts = [one.counts[metric] for one in predictions if one.counts and metric in one.counts]
    return [float(sum(count[part] for count in counts)) for part in (0, 1)]


def _refuse_other_utterances(first: Mapping[str, Utterance], other: Mapping[str, Utterance], where: str) -> None:
    if odd := sorted(first.keys() ^ other.keys()):
        raise UserError(
            f"Expected predictions of the same utterances: {where}. {odd[0]} is only in one of them "
            f"({len(odd)} such). Evaluate both on the same corpus."
        )
    for name, utterance in first.items():
        if utterance.reference != other[name].reference:
            raise UserError(
                f"Expected the same references: {where}. Found {utterance.reference!r} and {other[name].reference!r} "
                f"for {name}. Evaluate both on the same corpus."
            )
