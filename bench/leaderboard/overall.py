"""The leaderboard's scores over many tasks: relative to the teacher, and SUPERB's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot
from statistics import fmean, stdev
from typing import NamedTuple

import pandas as pd

from bench.contracts import Metric
from bench.leaderboard.sampling import standard_error
from bench.leaderboard.score import SIX_TASKS, SUPERB_ANCHORS, Scores, relative_score, superb6_score, superb_score
from bench.leaderboard.titles import OVERALL_TITLES

OVERALL = RELATIVE, SUPERB6, SUPERB = tuple(OVERALL_TITLES)

FBANK = "fbank"
"""Model reference of the filter banks."""


@dataclass(frozen=True)
class RunContext:
    """What scores over many tasks need to know about a run, in addition to its records."""

    teacher: str | None = None
    """Reference of the run's teacher."""
    references: Mapping[str, str] = field(default_factory=dict)
    """Rows of models given by reference, to these references."""
    metrics: Mapping[str, Sequence[Metric]] = field(default_factory=dict)
    """Each task's primary metrics."""


class Scale(NamedTuple):
    """The two ends of a relative score: primary metrics only, in percent."""

    low: Scores
    """Scores of filter banks."""
    high: Scores
    """Scores of the teacher."""


def overall_scores(scores: pd.DataFrame, run: RunContext) -> pd.DataFrame:
    """Compute every model's scores over many tasks, empty if a score is meaningless.

    The relative score lies between the means over seeds of the run's own filter banks (0) and of the row's teacher
    (100). Its standard deviation is over those seeds of the row that have all tasks. A row without one of its teacher's
    tasks gets no relative score, because scores over different tasks cannot be ranked. No row gets one if the scale is
    meaningless, see `scale_problems`. SUPERB's scores exist only for the test split.

    Args:
        scores: of one run and one split, from `bench.leaderboard.tidy.tidy_scores`.
        run: its teacher, references and metrics.

    Returns:
        One row per model and score: ``model``, ``task`` (empty), ``metric``, ``score`` and ``score_std``.
    """
    rows = _by_row(scores)
    teachers = _teacher_rows(rows, run)
    means = _means_by_row(scores)
    standard = _standard_tasks(scores)
    scales, _ = _scales(rows, teachers, run)
    table: list[tuple[str, str, str, float | None, float | None]] = []
    for model, found in rows.items():
        scale = scales.get(teachers.get(model, ""))
        relative = None if scale is None else relative_score(means[model], *scale)
        spread = None if scale is None or relative is None else _spread(found, scale)
        superb6, superb = _superb_scores(standard.get(model, set()), means[model])
        table += [
            (model, "", RELATIVE, relative, spread),
            (model, "", SUPERB6, superb6, None),
            (model, "", SUPERB, superb, None),
        ]
    columns = ["model", "task", "metric", "score", "score_std"]
    return pd.DataFrame(table, columns=columns).astype({"score": "float64", "score_std": "float64"})


def scale_problems(scores: pd.DataFrame, run: RunContext) -> list[str]:
    """Explain why rows of a run that has filter banks and a teacher have no relative score.

    A scale is meaningless if the teacher is not above filter banks on every primary metric, or if the gap between them
    is within its standard error: the relative score divides by that gap, so it would measure chance.

    Args:
        scores: of one run and one split, from `bench.leaderboard.tidy.tidy_scores`.
        run: its teacher, references and metrics.

    Returns:
        One sentence per teacher without a scale.
    """
    rows = _by_row(scores)
    _, problems = _scales(rows, _teacher_rows(rows, run), run)
    return problems


def _by_row(scores: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(model): found for model, found in scores.groupby("model", sort=False)}


def _scales(
    rows: Mapping[str, pd.DataFrame], teachers: Mapping[str, str], run: RunContext
) -> tuple[dict[str, Scale], list[str]]:
    """Compute the scale of every teacher that has one, and explain why others have none."""
    fbank = next((row for row, reference in run.references.items() if reference == FBANK and row in rows), None)
    if fbank is None:
        return {}, []
    scales, problems = {}, []
    for teacher in sorted(set(teachers.values())):
        scale = _scale(rows[teacher], rows[fbank], run)
        if isinstance(scale, Scale):
            scales[teacher] = scale
        elif scale:
            problems.append(f"No relative score: {teacher} {scale}.")
    return scales, problems


def _teacher_rows(rows: Mapping[str, pd.DataFrame], run: RunContext) -> dict[str, str]:
    """Map rows to the rows of their teachers, if the run has them; a teacher is its own."""
    row_of = {reference: row for row, reference in run.references.items() if row in rows}
    named = {model: next(iter(found["teacher"].dropna()), None) for model, found in rows.items()}
    teachers = {row_of[reference] for reference in (run.teacher, *named.values()) if reference in row_of}
    default = row_of.get(run.teacher or "") or (next(iter(teachers)) if len(teachers) == 1 else None)
    found = {}
    for model, reference in named.items():
        teacher = model if model in teachers else row_of.get(reference) if reference else default
        if teacher is not None:
            found[model] = teacher
    return found


def _scale(teacher: pd.DataFrame, fbank: pd.DataFrame, run: RunContext) -> Scale | str:
    """Compute the scale of a teacher, or return what is wrong with it; an empty text if a score is missing."""
    high, low = _mean_scores(teacher), _mean_scores(fbank)
    metrics = {task: run.metrics.get(task, ()) for task in high}
    for task, found in metrics.items():
        for metric in found:
            here, there = (scores.get(task, {}).get(metric.name) for scores in (high, low))
            if here is None or there is None:
                return ""
            values = f"{FBANK} on {task} {metric.name} ({here:.2f} and {there:.2f} %"
            if here == there or (here > there) != metric.higher_is_better:
                return f"is not better than {values})"
            error = 100 * hypot(*(_standard_error(rows, task, metric) for rows in (teacher, fbank)))
            if abs(here - there) <= error:
                return f"is within a standard error of {values}, standard error of the gap {error:.2f})"
    return Scale(low, {task: {metric.name: high[task][metric.name] for metric in metrics[task]} for task in high})


def _standard_error(scores: pd.DataFrame, task: str, metric: Metric) -> float:
    found = scores[(scores["task"] == task) & (scores["metric"] == metric.name)]
    return standard_error(list(found["value"] / 100), list(found["num_utterances"].dropna()), metric)


def _spread(scores: pd.DataFrame, scale: Scale) -> float | None:
    found = [relative_score(_mean_scores(seed), *scale) for _, seed in scores.groupby("seed")]
    whole = [score for score in found if score is not None]
    return stdev(whole) if len(whole) > 1 else None


def _standard_tasks(scores: pd.DataFrame) -> dict[str, set[str]]:
    """Map models to the tasks whose test scores all compare with SUPERB's leaderboard."""
    is_standard = (scores["is_superb"] & (scores["split"] == "test")).groupby([scores["model"], scores["task"]]).all()
    found: dict[str, set[str]] = {}
    for model, task in is_standard[is_standard].index:
        found.setdefault(model, set()).add(task)
    return found


def _superb_scores(standard: set[str], means: Scores) -> tuple[float | None, float | None]:
    return (
        superb6_score(means) if standard >= set(SIX_TASKS) else None,
        superb_score(means) if standard >= set(SUPERB_ANCHORS) else None,
    )


def _means_by_row(scores: pd.DataFrame) -> dict[str, Scores]:
    """Average over seeds: model to task to metric to score in percent."""
    means: dict[str, dict[str, dict[str, float]]] = {}
    for key, values in scores.groupby(["model", "task", "metric"])["value"]:
        model, task, metric = map(str, key)
        means.setdefault(model, {}).setdefault(task, {})[metric] = fmean(values)
    return dict(means)


def _mean_scores(scores: pd.DataFrame) -> Scores:
    """Average one model's scores over seeds: task to metric to score in percent."""
    return next(iter(_means_by_row(scores).values()), {})
