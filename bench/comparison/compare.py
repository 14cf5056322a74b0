"""Compares models utterance by utterance: which differences between rows of the leaderboard are real."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

import numpy as np

from bench import registry
from bench.comparison.bootstrap import CONFIDENCE, MIN_UNITS, Difference, Floats, holm, paired_differences
from bench.comparison.rows import Row
from bench.comparison.utterances import common_tasks, comparable_records, paired_utterances
from bench.contracts import Metric
from bench.errors import UserError
from bench.store.records import Record


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
    """The p-value after Holm's correction over all metrics of all tasks of the two models; NaN if there is none."""
    seeds: tuple[int, ...]
    unit: str
    """What was resampled: ``utterance``, or the column that groups them."""
    num_units: int
    better: str | None
    """The better model, where the interval excludes 0."""
    preset: str
    """Of both models' records."""

    @property
    def too_few(self) -> str:
        """Say that too few units were resampled for an interval; empty if they were enough."""
        if self.difference.has_interval:
            return ""
        return f"too few {self.unit}s: {self.num_units}, not {MIN_UNITS}"

    @property
    def is_real_after_holm(self) -> bool:
        """Whether the difference stands after Holm's correction."""
        return self.better is not None and self.p_holm < 1 - CONFIDENCE


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
    common = common_tasks(rows)
    found = [comparison for task in common for comparison in _compare_task(rows, task, split, by)]
    if by is not None and all(comparison.unit != by for comparison in found):
        raise UserError(f"--by {by}: predictions of {', '.join(common)} have no column {by}. Leave it out.")
    by_other = [[comparison for comparison in found if comparison.other == row.name] for row in rows[1:]]
    return [corrected for comparisons in by_other for corrected in _corrected(comparisons)]


def _compare_task(rows: Sequence[Row], task: str, split: str, by: str | None) -> Iterator[Comparison]:
    chosen = comparable_records(rows, task)
    metrics = registry.load("bench.tasks", task).metrics
    heard = paired_utterances(rows, chosen, split, metrics)
    first = heard[0]
    named = {name: utterance.columns.get(by or "") for name, utterance in first.items()}
    is_grouped = any(value is not None for value in named.values())
    groups = [name if value is None else f"{by} {value}" for name, value in named.items()]
    _, members = np.unique(groups, return_inverse=True)
    num_units = int(members.max()) + 1
    for metric in metrics:
        counts = np.array([[utterances[name].counts[metric.name] for utterances in heard] for name in first])
        summed: Floats = np.zeros((num_units, len(rows), 2))
        np.add.at(summed, members, counts)
        scores = [_score(records, split, metric) for records in chosen]
        for row, score, difference in zip(rows[1:], scores[1:], paired_differences(summed, MIN_UNITS), strict=True):
            yield Comparison(
                task=task,
                metric=metric.name,
                first=rows[0].name,
                other=row.name,
                first_score=scores[0],
                other_score=score,
                difference=difference,
                p_holm=difference.p_value,
                seeds=tuple(record.cell.seed for record in chosen[0]),
                unit=by if is_grouped and by else "utterance",
                num_units=num_units,
                preset=chosen[0][0].preset,
                better=_better(difference, metric, rows[0].name, row.name),
            )


def _score(records: Sequence[Record], split: str, metric: Metric) -> Score:
    for record in records:
        if metric.name not in record.scores.get(split, {}):
            raise UserError(
                f"Expected a score {split} {metric.name} in the record of {record.cell}. Found none. Delete the "
                "record, and run again."
            )
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
