"""What compression broke: which utterances changed between two models, and which groups of them lost most."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench import registry
from bench.comparison.bootstrap import CONFIDENCE, MIN_UNITS, NUM_RESAMPLES, Difference, Floats, paired_differences
from bench.comparison.groups import Grouping, group_utterances, known_columns
from bench.comparison.rows import Row
from bench.comparison.subgroups import group_difference, p_values_of_losing_more, typical_change
from bench.comparison.utterances import Utterance, common_tasks, comparable_records, paired_utterances
from bench.contracts import Metric
from bench.errors import UserError
from bench.leaderboard.run_leaderboard import primary_metrics
from bench.registry import nearest
from bench.store.records import Record

logger = logging.getLogger(__name__)

Kind = Literal["broken", "mended", "worse", "better"]
"""``broken``: right before, wrong now; ``mended``: the reverse; ``worse`` and ``better``: right or wrong as before, but
with more or fewer errors.
"""


@dataclass(frozen=True)
class ChangedUtterance:
    """An utterance on which two models differ."""

    id: str
    kind: Kind
    first: Utterance
    other: Utterance


@dataclass(frozen=True)
class GroupChange:
    """How the score of a group of utterances changed."""

    column: str
    """The column that groups them; empty for all utterances."""
    value: str
    """Their common value in that column."""
    num_utterances: int
    num_broken: int
    """Right with the first model, wrong with the other."""
    num_mended: int
    """Wrong with the first model, right with the other."""
    first_score: float
    """The metric's value, a fraction."""
    other_score: float
    difference: Difference
    """The other model minus the first, within the group. Its p-value tests for any difference from 0."""
    lost_more_by: float
    """Loss of the group minus the loss of all other utterances, a fraction; negative if the group lost less."""
    p_value: float
    """Probability that chance alone makes some group stand out this much, corrected for all groups of all columns; 1
    for all utterances together.
    """

    @property
    def stands_out(self) -> bool:
        """Whether it lost more than the others, beyond chance."""
        return self.p_value < 1 - CONFIDENCE


@dataclass(frozen=True)
class Changes:
    """The changes from one model to another, by one metric of one task."""

    task: str
    metric: Metric
    first: str
    other: str
    preset: str
    """Preset of both models' records."""
    seeds: tuple[int, ...]
    overall: GroupChange
    groups: tuple[GroupChange, ...]
    """The groups; those that stand out most come first."""
    utterances: tuple[ChangedUtterance, ...]
    """All changed utterances, sorted by id."""


def find_changes(
    rows: Sequence[Row],
    split: str,
    columns: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> list[Changes]:
    """Compare every further row with the first one, utterance by utterance and group by group.

    Args:
        rows: two or more.
        split: of the utterances, ``test`` or ``dev``.
        columns: what to group by, see `bench.comparison.groups.group_utterances`; by default every column there is.
        tasks: the tasks to compare; by default all that every row has.
        num_resamples: number of resamples and of permutations.

    Returns:
        One entry for every task, every primary metric and every further row.

    Raises:
        UserError: the rows cannot be compared, or a column does not exist.
    """
    records = {task: comparable_records(rows, task) for task in tasks or common_tasks(rows)}
    metrics = {task: _counted(task, primary) for task, primary in primary_metrics(records).items()}
    paired = {task: paired_utterances(rows, chosen, split, metrics[task]) for task, chosen in records.items()}
    known = known_columns(utterance for said in paired.values() for utterance in said[0].values())
    for column in columns or ():
        if column not in known:
            raise UserError(f"Predictions have no column {column} to group by. {nearest(column, known)}")
    return [
        change
        for task in records
        for change in _task_changes(rows, records[task], paired[task], columns, num_resamples)
    ]


def _counted(task: str, metrics: Sequence[Metric]) -> list[Metric]:
    """Return the metrics that groups of utterances have too; log a warning about the others."""
    for metric in metrics:
        if not metric.is_ratio_of_counts:
            logger.warning(
                "%s: %s is left out, since it is no sum over utterances that could be attributed to them",
                task,
                metric.name,
            )
    return [metric for metric in metrics if metric.is_ratio_of_counts]


def _task_changes(
    rows: Sequence[Row],
    records: Sequence[Sequence[Record]],
    paired: Sequence[Mapping[str, Utterance]],
    columns: Sequence[str] | None,
    num_resamples: int,
) -> Iterator[Changes]:
    task = records[0][0].cell.task
    groupings = group_utterances(list(paired[0].values()), columns)
    metrics = [metric for metric in registry.load("bench.tasks", task).metrics if metric.primary]
    metrics = [metric for metric in metrics if metric.is_ratio_of_counts]
    for row, others in zip(rows[1:], paired[1:], strict=True):
        pairs = {name: (first, others[name]) for name, first in paired[0].items()}
        for metric in metrics:
            overall, groups = _group_changes(list(pairs.values()), groupings, metric, num_resamples)
            yield Changes(
                task=task,
                metric=metric,
                first=rows[0].name,
                other=row.name,
                preset=records[0][0].preset,
                seeds=tuple(record.cell.seed for record in records[0]),
                overall=overall,
                groups=groups,
                utterances=tuple(
                    ChangedUtterance(name, kind, *pair)
                    for name, pair in pairs.items()
                    if (kind := _kind(*pair, metric)) is not None
                ),
            )


def _group_changes(
    pairs: Sequence[tuple[Utterance, Utterance]], groupings: Sequence[Grouping], metric: Metric, num_resamples: int
) -> tuple[GroupChange, tuple[GroupChange, ...]]:
    counts = np.array([[one.counts[metric.name] for one in pair] for pair in pairs])
    flips = np.array([[first.is_correct, other.is_correct] for first, other in pairs])
    change = typical_change(counts)

    def measured(
        column: str, value: str, members: Sequence[int], difference: Difference, p_value: float
    ) -> GroupChange:
        index = np.asarray(members)
        scores = _scores(counts[index])
        elsewhere = np.delete(counts, index, axis=0)
        sign = -1 if metric.higher_is_better else 1
        return GroupChange(
            column=column,
            value=value,
            num_utterances=len(index),
            num_broken=int((flips[index, 0] & ~flips[index, 1]).sum()),
            num_mended=int((~flips[index, 0] & flips[index, 1]).sum()),
            first_score=float(scores[0]),
            other_score=float(scores[1]),
            difference=difference,
            lost_more_by=sign * float(np.diff(scores)[0] - np.diff(_scores(elsewhere))[0]) if len(elsewhere) else 0.0,
            p_value=p_value,
        )

    overall = measured("", "all", range(len(pairs)), paired_differences(counts, MIN_UNITS, num_resamples)[0], 1.0)
    groups = []
    for grouping in _with_scores(groupings, counts):
        members = list(grouping.members.values())
        p_values = p_values_of_losing_more(
            counts, members, higher_is_better=metric.higher_is_better, num_permutations=num_resamples
        )
        for (value, index), p_value in zip(grouping.members.items(), p_values, strict=True):
            # Bonferroni's correction over the columns. The p-values are already corrected for the groups of one column.
            corrected = min(1.0, p_value * len(groupings))
            difference = group_difference(counts[list(index)], change, num_resamples)
            groups.append(measured(grouping.column, value, index, difference, corrected))
    return overall, tuple(sorted(groups, key=lambda group: (group.p_value, -group.lost_more_by)))


def _with_scores(groupings: Sequence[Grouping], counts: Floats) -> Iterator[Grouping]:
    """Leave out groups that have no score, such as utterances without any slot, and columns with only one group."""
    for grouping in groupings:
        scored = {
            value: index
            for value, index in grouping.members.items()
            if (counts[list(index), :, 1].sum(axis=0) > 0).all()
        }
        if len(scored) > 1:
            yield Grouping(grouping.column, scored)


def _scores(counts: Floats) -> Floats:
    sums = counts.sum(axis=0)
    scores: Floats = sums[:, 0] / sums[:, 1]
    return scores


def _kind(first: Utterance, other: Utterance, metric: Metric) -> Kind | None:
    if first.is_correct != other.is_correct:
        return "broken" if first.is_correct else "mended"
    (before, before_of), (now, now_of) = first.counts[metric.name], other.counts[metric.name]
    # Cross-multiplied, because an utterance may have a denominator of 0.
    gain = now * before_of - before * now_of
    if gain == 0:
        return None
    return "better" if (gain > 0) == metric.higher_is_better else "worse"
