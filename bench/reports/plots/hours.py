"""Score against the hours of audio that compression trained on (``--set data.hours=``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.errors import UserError
from bench.leaderboard.shown_scores import overall_or_by_task
from bench.reports.plots import canvas
from bench.reports.plots.canvas import Options
from bench.reports.plots.scores import boards_of, by_setting, panel_title, scores_of, setting_label
from bench.reports.plots.series import TEACHER_COLOR, Look, look
from bench.reports.plots.sources import MANIFEST, SavedModel, Source
from bench.reports.plots.writing import NothingToDrawError, Plot
from bench.text import shortened

MOST_HOURS = 1e9
"""Most hours of audio that a model can have been trained on; more means a damaged file."""


def plots(sources: Sequence[Source]) -> list[Plot]:
    """Make one figure for all runs.

    Raises:
        NothingToDrawError: no setting has models trained on different numbers of hours.
    """
    table = with_hours(overall_or_by_task(scores_of(sources), boards_of(sources)), sources)
    found = [
        Plot(name, part, draw)
        for name, part in by_setting(table, "hours")
        if part["audio_hours"].dropna().nunique() > 1
    ]
    if not found:
        raise NothingToDrawError(
            f"Expected models that trained on different hours of audio, for the plot hours. Found "
            f"{table['audio_hours'].dropna().nunique()} in {', '.join(str(source.path) for source in sources)}. Run "
            "with other --set data.hours=.., and name all runs."
        )
    return found


def with_hours(scores: pd.DataFrame, sources: Sequence[Source]) -> pd.DataFrame:
    """Add ``audio_hours`` to scores, from the models' provenance; models without it are dropped, except teachers."""
    by_name = {source.name: source for source in sources}
    hours = [_hours(by_name[run], model) for run, model in zip(scores["run"], scores["model"], strict=True)]
    table = scores.assign(audio_hours=pd.Series(hours, index=scores.index, dtype="float64"))
    return table[table["is_teacher"] | table["audio_hours"].notna()].reset_index(drop=True)


def draw(table: pd.DataFrame, options: Options) -> Figure:
    """Draw one panel per score, with one line per row of the leaderboards.

    Args:
        table: from `with_hours`, of one setting.
        options: of the figure.
    """
    groups = list(table.groupby(["task", "metric"], sort=False))
    columns = min(len(groups), 4 if options.is_wide else 2)
    aspect = 0.6 if len(groups) == 1 else 0.85
    figure, axes = canvas.panels(len(groups), options, columns=columns, aspect=aspect, extra_in=0.45, sharex=True)
    students = table[~table["is_teacher"]]
    methods = students.drop_duplicates("model").set_index("model")["compressor"]
    looks = {
        str(model): replace(options.looks[method], line_style=look(index).line_style)
        for index, (model, method) in enumerate(methods.items())
    }
    for panel, (_, rows) in zip(axes, groups, strict=True):
        _draw_panel(panel, rows, looks)
        panel.set_title(panel_title(rows))
        canvas.log_scale(panel, students["audio_hours"])
    for panel in axes[-columns:]:
        panel.set_xlabel("hours of training audio")
        panel.tick_params(labelbottom=True)
    handles = [
        Line2D(
            [], [], color=style.color, linestyle=style.line_style, marker=style.marker, markeredgecolor="black",
            markeredgewidth=0.5,
        )
        for style in looks.values()
    ]  # fmt: skip
    labels = list(looks)
    if table["is_teacher"].any():
        handles.insert(0, Line2D([], [], color=TEACHER_COLOR, linestyle="--", linewidth=0.8))
        labels.insert(0, "teacher")
    canvas.legend(figure, handles, labels, columns=4 if options.is_wide else 3)
    canvas.mark(figure, options, setting_label(table))
    return figure


def _hours(source: Source, row: str) -> float | None:
    """Average over the seeds of a sweep, which all had the same amount of audio."""
    found = [hours for model in source.saved(row) if (hours := _audio_hours(model))]
    return sum(found) / len(found) if found else None


def _audio_hours(model: SavedModel) -> float | None:
    hours = model.manifest.provenance.get("audio_hours")
    if hours is None:
        return None
    if isinstance(hours, int | float) and 0 <= hours < MOST_HOURS:
        return float(hours)
    raise UserError(
        f"Expected hours of audio as provenance.audio_hours in {model.path / MANIFEST}. Found {shortened(hours, 60)}. "
        "Correct it, or compress again."
    )


def _draw_panel(axes: Axes, rows: pd.DataFrame, looks: dict[str, Look]) -> None:
    teachers = rows[rows["is_teacher"]]
    if not teachers.empty:
        axes.axhline(teachers["score"].iloc[0], color=TEACHER_COLOR, linestyle="--", linewidth=0.8)
    for model, points in rows[~rows["is_teacher"]].sort_values("audio_hours").groupby("model", sort=False):
        style = looks[str(model)]
        spread = points["score_std"]
        axes.errorbar(
            points["audio_hours"],
            points["score"],
            yerr=spread.fillna(0) if spread.notna().any() else None,
            color=style.color,
            linestyle=style.line_style,
            marker=style.marker,
            markeredgecolor="black",
            markeredgewidth=0.5,
            ecolor="#404040",
            elinewidth=0.7,
        )
    axes.margins(x=0.08, y=0.15)
