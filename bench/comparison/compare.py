"""Which differences between rows of the leaderboard are real, for methods and for these particular models."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

import numpy as np

from bench import registry
from bench.comparison.bootstrap import CONFIDENCE, MIN_UNITS, Difference, Floats, holm, paired_differences
from bench.comparison.crossed_effects import method_difference, score_difference
from bench.comparison.rows import Row
from bench.comparison.utterances import Utterance, common_tasks, comparable_records, paired_utterances
from bench.contracts import Metric
from bench.errors import UserError
from bench.store.records import Record

logger = logging.getLogger(__name__)

SEED = "seed"


@dataclass(frozen=True)
class Score:
    """A model's score on one task."""

    mean: float
    """Mean over the seeds, a fraction."""
    std: float | None
    """Sample standard deviation over the seeds; None for one seed."""


@dataclass(frozen=True)
class Comparison:
    """One metric of one task, compared between the first row and another."""

    task: str
    metric: str
    higher_is_better: bool
    first: str
    other: str
    first_score: Score
    other_score: Score
    across_seeds: Difference
    """``other`` minus ``first``, with an interval over new seeds and new utterances; no interval for one seed."""
    these_models: Difference
    """The same with an interval over new utterances only; no interval without predictions, or with too few units."""
    p_holm: float
    """The p-value after Holm's correction over all metrics of all tasks of the two rows; NaN if there is none."""
    seeds: tuple[int, ...]
    single_models: tuple[str, ...]
    """Rows whose scores all come from one compression: they do not show how another compression would score."""
    unit: str
    """What was resampled: ``utterance``, the column that groups them, or ``seed`` if there are no predictions."""
    num_units: int
    preset: str
    """Preset of both rows' records."""
    is_ratio_of_counts: bool = True
    """See `bench.contracts.Metric`. For other metrics, only the scores of the seeds are compared."""

    @property
    def is_about_methods(self) -> bool:
        """Whether the main interval covers other compressions; otherwise it holds only for these particular models."""
        return self.across_seeds.has_interval and not self.single_models

    @property
    def has_predictions(self) -> bool:
        """Whether utterances were compared too, and not only the scores of the seeds."""
        return self.unit != SEED

    @property
    def difference(self) -> Difference:
        """The main interval: over seeds and utterances if there are several seeds, else over utterances."""
        return self.these_models if len(self.seeds) == 1 else self.across_seeds

    @property
    def better(self) -> str | None:
        """The better row, if the main interval excludes 0."""
        if not self.difference.is_real:
            return None
        return self.other if (self.difference.value > 0) == self.higher_is_better else self.first

    @property
    def too_few(self) -> str:
        """A message that too few units were resampled for an interval; empty if there were enough."""
        if self.difference.has_interval:
            return ""
        if not self.is_ratio_of_counts:
            return f"{self.metric}: needs seeds"
        return f"too few {self.unit}s: {self.num_units}, not {MIN_UNITS}"

    @property
    def is_real_after_holm(self) -> bool:
        """Whether the difference remains significant after Holm's correction."""
        return self.better is not None and self.p_holm < 1 - CONFIDENCE


def compare(rows: Sequence[Row], split: Literal["test", "dev"], by: str | None = None) -> list[Comparison]:
    """Compare every further row with the first one, on all tasks that all of them have.

    Args:
        rows: two or more.
        split: of the utterances.
        by: resample the values of this column (``speaker``) instead of utterances, if the predictions have it.

    Returns:
        Grouped by the other row, then in the order of the tasks.

    Raises:
        UserError: the rows cannot be compared; the message says why.
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
    measured = _by_seeds(chosen, split, metrics)
    units = {metric.name: (SEED, len(chosen[0])) for metric in metrics}
    counted = [metric for metric in metrics if metric.is_ratio_of_counts]
    if counted and _has_predictions(rows, chosen, task):
        said = paired_utterances(rows, chosen, split, counted)
        unit, members = _units(said[0], by)
        for metric in counted:
            units[metric.name] = unit, int(members.max()) + 1
            measured[metric.name] = _by_utterances(said, members, metric.name, chosen)
    for metric in metrics:
        scores = [_score(records, split, metric) for records in chosen]
        for position, (across_seeds, these_models) in enumerate(measured[metric.name], 1):
            pair = (0, position)
            yield Comparison(
                task=task,
                metric=metric.name,
                higher_is_better=metric.higher_is_better,
                first=rows[0].name,
                other=rows[position].name,
                first_score=scores[0],
                other_score=scores[position],
                across_seeds=across_seeds,
                these_models=these_models,
                p_holm=np.nan,
                seeds=tuple(record.cell.seed for record in chosen[0]),
                single_models=tuple(rows[row].name for row in pair if _is_single_model(chosen[row])),
                unit=units[metric.name][0],
                num_units=units[metric.name][1],
                preset=chosen[0][0].preset,
                is_ratio_of_counts=metric.is_ratio_of_counts,
            )


def _has_predictions(rows: Sequence[Row], chosen: Sequence[Sequence[Record]], task: str) -> bool:
    """Return whether all records have predictions. Without them, only the scores of several seeds can be compared."""
    missing = [
        record
        for row, records in zip(rows, chosen, strict=True)
        for record in records
        if not row.store.predictions_path(record.cell).is_file()
    ]
    if not missing or len(chosen[0]) == 1:
        return True
    logger.warning(
        "%s: %d records have no predictions (%s), so only the scores of the seeds are compared",
        *(task, len(missing), missing[0].cell),
    )
    return False


def _units(utterances: Mapping[str, Utterance], by: str | None) -> tuple[str, np.ndarray]:
    """Number the unit of every utterance: the utterance itself, or all utterances with the same value of a column."""
    values = {name: utterance.columns.get(by or "") for name, utterance in utterances.items()}
    is_grouped = any(value is not None for value in values.values())
    groups = [name if value is None else f"{by} {value}" for name, value in values.items()]
    _, members = np.unique(groups, return_inverse=True)
    return (by if is_grouped and by else "utterance"), members


def _by_seeds(
    chosen: Sequence[Sequence[Record]], split: str, metrics: Sequence[Metric]
) -> dict[str, list[tuple[Difference, Difference]]]:
    """Compare scores without predictions: there is no interval for these particular models."""
    found = {}
    for metric in metrics:
        values = [_values(records, split, metric) for records in chosen]
        differences = [
            score_difference(values[0], other, is_paired=_is_paired(chosen[0][0], records[0]))
            for other, records in zip(values[1:], chosen[1:], strict=True)
        ]
        unknown = (np.nan, np.nan, np.nan)
        found[metric.name] = [(difference, Difference(difference.value, *unknown)) for difference in differences]
    return found


def _by_utterances(
    said: Sequence[Mapping[str, Utterance]], members: np.ndarray, metric: str, chosen: Sequence[Sequence[Record]]
) -> list[tuple[Difference, Difference]]:
    """Compare by the counts of every unit: over seeds and units, and over units only."""
    counts = [_unit_counts(utterances, members, metric) for utterances in said]
    these_models = paired_differences(np.stack([one.mean(axis=0) for one in counts], axis=1), MIN_UNITS)
    if counts[0].shape[1] < MIN_UNITS:
        return [(one, one) for one in these_models]
    return [
        (method_difference(counts[0], other, is_paired=_is_paired(chosen[0][0], records[0])), narrow)
        for other, records, narrow in zip(counts[1:], chosen[1:], these_models, strict=True)
    ]


def _unit_counts(utterances: Mapping[str, Utterance], members: np.ndarray, metric: str) -> Floats:
    """Sum the counts of each unit's utterances: (seeds, units, 2)."""
    counts = np.array([utterance.counts_by_seed[metric] for utterance in utterances.values()])
    summed: Floats = np.zeros((int(members.max()) + 1, *counts.shape[1:]))
    np.add.at(summed, members, counts)
    return summed.swapaxes(0, 1)


def _is_paired(first: Record, other: Record) -> bool:
    """Return whether one row was made from the other's models, seed by seed, as by a stack that begins with it."""
    shorter, longer = sorted((first.card.compressor.split("+"), other.card.compressor.split("+")), key=len)
    return len(shorter) < len(longer) and longer[: len(shorter)] == shorter


def _is_single_model(records: Sequence[Record]) -> bool:
    """Return whether a row is compressed, and all of its seeds are heads of one and the same model."""
    is_compressed = records[0].card.compressor != "none"
    return is_compressed and len({record.weights_hash for record in records}) == 1


def _score(records: Sequence[Record], split: str, metric: Metric) -> Score:
    values = _values(records, split, metric)
    return Score(mean(values), stdev(values) if len(values) > 1 else None)


def _values(records: Sequence[Record], split: str, metric: Metric) -> list[float]:
    for record in records:
        if metric.name not in record.scores.get(split, {}):
            raise UserError(
                f"Expected a score {split} {metric.name} in the record of {record.cell}. Found none. Delete the "
                "record, and run again."
            )
    return [record.scores[split][metric.name] for record in records]


def _corrected(comparisons: Sequence[Comparison]) -> Iterator[Comparison]:
    adjusted = holm([comparison.difference.p_value for comparison in comparisons])
    for comparison, p_holm in zip(comparisons, adjusted, strict=True):
        yield dataclasses.replace(comparison, p_holm=p_holm)
