"""The leaderboard's scores over many tasks: relative to the teacher, and SUPERB's."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

import pandas as pd

from bench.contracts import Metric
from bench.score import SIX_TASKS, SUPERB_ANCHORS, Scores, relative_score, superb6_score, superb_score
from bench.store.records import Record
from bench.store.standard_corpora import deviations

logger = logging.getLogger(__name__)

COLUMNS = ["relative_score", "relative_score_std", "superb6_score", "superb_score"]

FBANK = "fbank"
"""Model reference of the filter banks."""


@dataclass(frozen=True)
class RunContext:
    """What scores over many tasks need to know of a run beside its records."""

    teacher: str | None = None
    """Reference of the run's teacher."""
    references: Mapping[str, str] = field(default_factory=dict)
    """Rows that are models evaluated as they are, to their references."""
    metrics: Mapping[str, Sequence[Metric]] = field(default_factory=dict)
    """Each task's primary metrics."""


def score_columns(records: Iterable[Record], split: str, run: RunContext) -> pd.DataFrame:
    """Compute the columns ``COLUMNS``, one row a model, empty where a score has no meaning.

    The relative score stands between the means over seeds of the run's own filter banks (0) and of the row's teacher
    (100); its deviation is that of the row's seeds which have all tasks. A row that lacks a task its teacher has gets
    none, since scores over different tasks cannot be ranked; nor does any where the teacher is not above filter banks
    on every metric, since there is no scale then. SUPERB's scores are of the test split alone.

    Args:
        records: of one run.
        split: whose scores.
        run: its teacher, references and metrics.
    """
    rows: dict[str, list[Record]] = {}
    for record in records:
        rows.setdefault(record.cell.model, []).append(record)
    teachers = _teacher_rows(rows, run)
    means = {model: _mean_scores(found, split) for model, found in rows.items()}
    fbank = means.get(next((row for row, reference in run.references.items() if reference == FBANK), ""))
    scales = {teacher: _scale(teacher, means[teacher], fbank, run) for teacher in set(teachers.values())}
    table = {}
    for model, found in rows.items():
        scale = scales.get(teachers.get(model, ""))
        relative = None if scale is None else relative_score(means[model], *scale)
        spread = None if scale is None or relative is None else _spread(found, split, scale)
        table[model] = [relative, spread, *(_superb_scores(found, means[model]) if split == "test" else (None, None))]
    return pd.DataFrame.from_dict(table, orient="index", columns=COLUMNS).astype("float64")


def _teacher_rows(rows: Mapping[str, Sequence[Record]], run: RunContext) -> dict[str, str]:
    """Map rows to the rows of their teachers, where the run has these; a teacher is its own."""
    row_of = {reference: row for row, reference in run.references.items() if row in rows}
    named = {model: found[0].card.teacher for model, found in rows.items()}
    teachers = {row_of[reference] for reference in (run.teacher, *named.values()) if reference in row_of}
    default = row_of.get(run.teacher or "") or (next(iter(teachers)) if len(teachers) == 1 else None)
    found = {}
    for model, reference in named.items():
        teacher = model if model in teachers else row_of.get(reference) if reference else default
        if teacher is not None:
            found[model] = teacher
    return found


def _scale(teacher: str, high: Scores, low: Scores | None, run: RunContext) -> tuple[Scores, Scores] | None:
    """Take the two ends of the relative score, with primary metrics alone; None where they make no scale."""
    if low is None:
        return None
    ends = {task: {metric.name: high[task][metric.name] for metric in run.metrics.get(task, ())} for task in high}
    for task, metrics in ends.items():
        for metric in run.metrics.get(task, ()):
            other = low.get(task, {}).get(metric.name)
            if other is None:
                return None
            if (metrics[metric.name] > other) != metric.higher_is_better or metrics[metric.name] == other:
                logger.warning(
                    "relative_score stays empty: %s is not above %s on %s %s", teacher, FBANK, task, metric.name
                )
                return None
    return low, ends


def _spread(records: Iterable[Record], split: str, scale: tuple[Scores, Scores]) -> float | None:
    by_seed: dict[int, list[Record]] = {}
    for record in records:
        by_seed.setdefault(record.cell.seed, []).append(record)
    scores = [relative_score(_mean_scores(found, split), *scale) for found in by_seed.values()]
    whole = [score for score in scores if score is not None]
    return stdev(whole) if len(whole) > 1 else None


def _superb_scores(records: Sequence[Record], means: Scores) -> tuple[float | None, float | None]:
    standard = {record.cell.task for record in records} - {record.cell.task for record in records if deviations(record)}
    return (
        superb6_score(means) if standard >= set(SIX_TASKS) else None,
        superb_score(means) if standard >= set(SUPERB_ANCHORS) else None,
    )


def _mean_scores(records: Iterable[Record], split: str) -> Scores:
    """Average over seeds: task to metric to score in percent."""
    values: dict[str, dict[str, list[float]]] = {}
    for record in records:
        for metric, value in record.scores.get(split, {}).items():
            values.setdefault(record.cell.task, {}).setdefault(metric, []).append(100 * value)
    return {task: {metric: fmean(found) for metric, found in metrics.items()} for task, metrics in values.items()}
