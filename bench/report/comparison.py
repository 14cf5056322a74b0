"""Compares models utterance by utterance: which differences between rows of the leaderboard are real."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np

from bench import registry
from bench.contracts import Metric
from bench.errors import UserError
from bench.report.bootstrap import CONFIDENCE, Difference, Floats, holm, paired_differences
from bench.report.rows import Row, refuse_differences
from bench.store.records import Record

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """A model's score on one task."""

    mean: float
    """Over the seeds, a fraction."""
    std: float | None
    """Sample standard deviation over the seeds; none for one."""


@dataclass(frozen=True)
class Comparison:
    """One metric of one task, of the first model and another."""

    task: str
    metric: str
    first: str
    other: str
    first_score: Score
    other_score: Score
    difference: Difference
    """Of ``other`` from ``first``, seeds averaged within each utterance."""
    p_holm: float
    """The p-value after Holm's correction over all metrics of all tasks of the same two models."""
    seeds: tuple[int, ...]
    unit: str
    """What was resampled: ``utterance``, or the column that groups them."""
    num_units: int
    better: str | None
    """The better model, where the interval excludes 0."""

    @property
    def is_real_after_holm(self) -> bool:
        """Whether the difference stands after Holm's correction."""
        return self.better is not None and self.p_holm < 1 - CONFIDENCE


@dataclass(frozen=True)
class _Utterance:
    """What the seeds of one model have on one utterance."""

    reference: Any
    group: str | None
    counts: Mapping[str, Sequence[float]]
    """Metric to numerator and denominator."""


def compare(rows: Sequence[Row], split: Literal["test", "dev"], by: str | None = None) -> list[Comparison]:
    """Compare every further row with the first one, on all tasks that all of them have.

    Args:
        rows: two or more.
        split: whose utterances.
        by: resample the values of this column (``speaker``) where predictions have it, not utterances.

    Returns:
        Grouped by the other model, then in the order of the tasks.

    Raises:
        UserError: the rows cannot be compared, and why.
    """
    common = [task for task in rows[0].records if all(task in row.records for row in rows)]
    if not common:
        raise UserError(f"{', '.join(row.name for row in rows)} have no task in common. Evaluate them on one.")
    for task in sorted({task for row in rows for task in row.records} - set(common)):
        logger.warning("%s: left out, since not all of the models have it", task)
    found = [comparison for task in common for comparison in _compare_task(rows, task, split, by)]
    if by is not None and all(comparison.unit != by for comparison in found):
        raise UserError(f"--by {by}: predictions of {', '.join(common)} have no column {by}. Leave it out.")
    by_other = [[comparison for comparison in found if comparison.other == row.name] for row in rows[1:]]
    return [corrected for comparisons in by_other for corrected in _corrected(comparisons)]


def _compare_task(rows: Sequence[Row], task: str, split: str, by: str | None) -> Iterator[Comparison]:
    seeds = _common_seeds(rows, task)
    chosen = [[row.records[task][seed] for seed in seeds] for row in rows]
    for row, records in zip(rows[1:], chosen[1:], strict=True):
        settings = (rows[0].task_settings.get(task), row.task_settings.get(task))
        refuse_differences(chosen[0][0], records[0], settings, (rows[0].name, row.name))
    heard = [_utterances(row, records, split, by) for row, records in zip(rows, chosen, strict=True)]
    for row, utterances in zip(rows[1:], heard[1:], strict=True):
        _refuse_other_utterances(heard[0], utterances, f"{rows[0].name} and {row.name} on {task}")
    first = heard[0]
    is_grouped = any(utterance.group is not None for utterance in first.values())
    groups = [name if utterance.group is None else f"{by} {utterance.group}" for name, utterance in first.items()]
    _, members = np.unique(groups, return_inverse=True)
    num_units = int(members.max()) + 1
    for metric in registry.load("bench.tasks", task).metrics:
        counts = np.array([[utterances[name].counts[metric.name] for utterances in heard] for name in first])
        summed: Floats = np.zeros((num_units, len(rows), 2))
        np.add.at(summed, members, counts)
        scores = [_score(records, split, metric) for records in chosen]
        for row, score, difference in zip(rows[1:], scores[1:], paired_differences(summed), strict=True):
            yield Comparison(
                task=task,
                metric=metric.name,
                first=rows[0].name,
                other=row.name,
                first_score=scores[0],
                other_score=score,
                difference=difference,
                p_holm=difference.p_value,
                seeds=seeds,
                unit=by if is_grouped and by else "utterance",
                num_units=num_units,
                better=_better(difference, metric, rows[0].name, row.name),
            )


def _common_seeds(rows: Sequence[Row], task: str) -> tuple[int, ...]:
    seeds = [set(row.records[task]) for row in rows]
    common = sorted(set.intersection(*seeds))
    told = ", ".join(f"{row.name}: {' '.join(map(str, sorted(found)))}" for row, found in zip(rows, seeds, strict=True))
    if not common:
        raise UserError(f"The models have no seed of {task} in common ({told}). Evaluate them with the same --seeds.")
    if any(len(found) > len(common) for found in seeds):
        logger.warning("%s: only the seeds that all have are compared (%s)", task, told)
    return tuple(common)


def _utterances(row: Row, records: Sequence[Record], split: str, by: str | None) -> dict[str, _Utterance]:
    """Average the counts over the seeds; an utterance that is there several times (in folds) is one."""
    first: dict[str, Mapping[str, Any]] = {}
    sums: dict[str, dict[str, list[float]]] = {}
    for record in records:
        for prediction in row.store.predictions(record.cell):
            if prediction["split"] != split:
                continue
            if "counts" not in prediction:
                raise UserError(
                    f"Expected counts in the predictions of {row.name}, {record.cell}. Found none: an earlier version, "
                    f"or a task without them, wrote these. Delete {row.store.path(record.cell)}, and run again."
                )
            first.setdefault(prediction["id"], prediction)
            total = sums.setdefault(prediction["id"], {})
            for metric, pair in prediction["counts"].items():
                so_far = total.get(metric, [0.0, 0.0])
                total[metric] = [there + more / len(records) for there, more in zip(so_far, pair, strict=True)]
    group = by or ""
    return {
        name: _Utterance(
            prediction["reference"], None if prediction.get(group) is None else str(prediction[group]), sums[name]
        )
        for name, prediction in sorted(first.items())
    }


def _refuse_other_utterances(first: Mapping[str, _Utterance], other: Mapping[str, _Utterance], where: str) -> None:
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


def _score(records: Sequence[Record], split: str, metric: Metric) -> Score:
    values = [record.scores[split][metric.name] for record in records]
    return Score(mean(values), stdev(values) if len(values) > 1 else None)


def _better(difference: Difference, metric: Metric, first: str, other: str) -> str | None:
    if not difference.is_real:
        return None
    return other if (difference.value > 0) == metric.higher_is_better else first


def _corrected(comparisons: Sequence[Comparison]) -> Iterator[Comparison]:
    adjusted = holm([comparison.difference.p_value for comparison in comparisons])
    for comparison, p_holm in zip(comparisons, adjusted, strict=True):
        yield dataclasses.replace(comparison, p_holm=p_holm)
