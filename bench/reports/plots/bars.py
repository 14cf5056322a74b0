"""How much of the teacher's score each task keeps: as bars, or from eight rows on as a dot plot."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.leaderboard.shown_scores import by_task, without_filter_banks
from bench.leaderboard.titles import in_order, score_title
from bench.reports.plots import canvas
from bench.reports.plots.canvas import Options
from bench.reports.plots.scores import by_setting, scores_of, setting_label
from bench.reports.plots.series import UNCOMPRESSED, Look
from bench.reports.plots.sources import Source
from bench.reports.plots.writing import NothingToDrawError, Plot

logger = logging.getLogger(__name__)

MOST_BARS = 7
"""More rows are drawn as dots."""
NUMBERED_AT_MOST = {False: 10, True: 28}
"""Values are written above bars only up to so many bars per row of a column and a page; more do not fit."""
BARS_IN_A_ROW = {False: 32, True: 80}
DOT_ROW_IN = 0.14
"""Height of a row of the dot plot."""
EDGE = "#202020"
GROUP_WIDTH = 0.8
WIDEST_BAR = 0.3
PALEST = 0.55
"""How much white is mixed into the colour of a method's smallest model."""


def plots(sources: Sequence[Source]) -> list[Plot]:
    """Make one figure for all tasks.

    Raises:
        NothingToDrawError: no run has the scores of both a model and its teacher.
    """
    relative = relative_to_teacher(without_filter_banks(by_task(scores_of(sources))))
    if relative.empty:
        raise NothingToDrawError(
            f"Expected scores of models and of their teacher, for the plot bars. Found none in "
            f"{', '.join(str(source.path) for source in sources)}. Evaluate the teacher too."
        )
    return [Plot(name, table, draw) for name, table in by_setting(relative, "bars")]


def relative_to_teacher(scores: pd.DataFrame) -> pd.DataFrame:
    """Relate every model's score to the score of its run's teacher.

    An error rate e counts as 100 - e, so that higher is always better.

    Args:
        scores: of tasks, from `bench.leaderboard.shown_scores`.

    Returns:
        The models' rows with ``teacher_score``, ``relative`` (the teacher has 100) and ``relative_std``, the standard
        deviation over the model's seeds on the same scale. Rows whose teacher's score is missing or not above 0 are
        left out. The best model comes first.
    """
    key = ["setting", "task", "metric"]
    teachers = scores[scores["is_teacher"]].rename(columns={"score": "teacher_score"})
    models = scores[~scores["is_teacher"]]
    # Runs with the same teacher share its rows, which are then listed under the first run only.
    shared = models.merge(teachers.drop_duplicates(key)[[*key, "teacher_score"]], on=key, how="left")
    own = models.merge(teachers[["run", *key, "teacher_score"]], on=["run", *key], how="left")
    models = models.assign(teacher_score=own["teacher_score"].fillna(shared["teacher_score"]).to_numpy())
    teacher_gain = _gain(models["teacher_score"], models["higher_is_better"])
    usable = teacher_gain > 0
    for label in models.loc[models["teacher_score"].notna() & ~usable, "label"].unique():
        logger.warning("bars: %s is left out on tasks where its teacher gets nothing right", label)
    gain = _gain(models["score"], models["higher_is_better"])
    models = models.assign(relative=100 * gain / teacher_gain, relative_std=100 * models["score_std"] / teacher_gain)
    models = models[usable].reset_index(drop=True)
    place = -models.groupby("label")["relative"].transform("mean")
    return models.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)


def draw(table: pd.DataFrame, options: Options) -> Figure:
    """Draw the models' scores, best model first.

    Args:
        table: from `relative_to_teacher`, of one setting.
        options: of the figure.
    """
    figure = _draw_bars(table, options) if table["label"].nunique() <= MOST_BARS else _draw_dots(table, options)
    errors = "" if table["higher_is_better"].all() else "; an error rate e counts as 100 - e"
    canvas.mark(figure, options, f"{setting_label(table)}{errors}")
    return figure


def _draw_bars(table: pd.DataFrame, options: Options) -> Figure:
    """Draw one group of bars per score, in as many rows as needed."""
    groups = _scores(table)
    models = list(dict.fromkeys(table["label"]))
    num_rows = -(-len(groups) // max(1, BARS_IN_A_ROW[options.is_wide] // len(models)))
    in_a_row = -(-len(groups) // num_rows)
    aspect = 0.26 if options.is_wide else 0.42
    extra_in = 0.3 + canvas.LEGEND_LINE_IN * len(models) / 3
    figure, axes = canvas.panels(num_rows, options, columns=1, aspect=aspect, extra_in=extra_in, sharey=True)
    handles: dict[str, Artist] = {"teacher (100)": Line2D([], [], color="black", linewidth=0.8, linestyle="--")}
    for place, panel in enumerate(axes):
        shown = groups[place * in_a_row : (place + 1) * in_a_row]
        width = min(GROUP_WIDTH / len(models), WIDEST_BAR)
        for index, model in enumerate(models):
            rows = table[table["label"] == model].set_index(["task", "metric"])
            fill: dict[str, Any] = {"facecolor": _shade(table, rows, options), "hatch": _look(rows, options).hatch}
            handles[model] = Patch(edgecolor=EDGE, linewidth=0.5, **fill)
            places = [position for position, group in enumerate(shown) if group in rows.index]
            values = rows.loc[[shown[position] for position in places]]
            bars = panel.bar(
                np.array(places) + (index - (len(models) - 1) / 2) * width,
                values["relative"],
                width=0.92 * width,
                yerr=values["relative_std"].fillna(0) if values["relative_std"].notna().any() else None,
                edgecolor=EDGE,
                linewidth=0.5,
                error_kw={"elinewidth": 0.7, "ecolor": "#404040"},
                **fill,
            )
            if len(shown) * len(models) <= NUMBERED_AT_MOST[options.is_wide]:
                for number in panel.bar_label(bars, fmt="%.1f", padding=1.5, fontsize=5.5, zorder=5):
                    number.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6})
        panel.axhline(100, color="black", linewidth=0.8, linestyle="--", zorder=3)
        panel.axhline(0, color="#404040", linewidth=0.6)
        panel.set_xticks(range(len(shown)), [score_title(*group).replace(" ", "\n", 1) for group in shown])
        panel.tick_params(axis="x", length=0)
        panel.margins(y=0.12)
        panel.set_xlim(-0.6, in_a_row - 0.4)
    # Above the panels, because a legend of many models leaves too little height for this text.
    axes[0].set_title("relative to the teacher ↑")
    canvas.legend(figure, list(handles.values()), list(handles), columns=5 if options.is_wide else 3)
    return figure


def _draw_dots(table: pd.DataFrame, options: Options) -> Figure:
    """Draw one panel per score, with one line per model: its score and the standard deviation over seeds."""
    groups = _scores(table)
    models = list(dict.fromkeys(table["label"]))
    columns = min(len(groups), 6 if options.is_wide else 3)
    height_in = DOT_ROW_IN * len(models) + 0.35
    aspect = height_in * columns / options.width_in
    figure, axes = canvas.panels(len(groups), options, columns=columns, aspect=aspect, sharey=True)
    handles: dict[str, Line2D] = {}
    for panel, group in zip(axes, groups, strict=True):
        shown = table[(table["task"] == group[0]) & (table["metric"] == group[1])]
        for method, rows in shown.groupby("compressor", sort=True):
            look = options.looks[str(method)]
            places = [models.index(label) for label in rows["label"]]
            error = rows["relative_std"].fillna(0)
            panel.errorbar(rows["relative"], places, xerr=error, fmt="none", ecolor="#404040", elinewidth=0.7)
            for place, value, label in zip(places, rows["relative"], rows["label"], strict=True):
                fill = _shade(table, rows[rows["label"] == label], options)
                panel.plot(value, place, marker=look.marker, color=fill, markeredgecolor=EDGE, markeredgewidth=0.5)
            title = "not compressed" if method == UNCOMPRESSED else str(method)
            handles[title] = Line2D([], [], linestyle="", marker=look.marker, color=look.color, markeredgecolor=EDGE)
        panel.axvline(100, color="black", linewidth=0.8, linestyle="--", zorder=1)
        panel.set_title(score_title(*group))
        panel.grid(axis="x")
    axes[0].set_yticks(range(len(models)), [canvas.name(model, canvas.LONGEST_LABEL) for model in models])
    axes[0].set_ylim(len(models) - 0.4, -0.6)
    axes[(min(columns, len(groups)) - 1) // 2].set_xlabel("% of the teacher ↑")
    canvas.legend(figure, list(handles.values()), list(handles), columns=5 if options.is_wide else 3)
    return figure


def _scores(table: pd.DataFrame) -> list[tuple[str, str]]:
    """List the tasks and metrics, in the order of reports."""
    tasks = in_order(table["task"])
    pairs = dict.fromkeys(zip(table["task"], table["metric"], strict=True))
    return sorted(pairs, key=lambda pair: tasks.index(pair[0]))


def _look(rows: pd.DataFrame, options: Options) -> Look:
    return options.looks[rows["compressor"].iloc[0]]


def _shade(table: pd.DataFrame, rows: pd.DataFrame, options: Options) -> tuple[float, float, float]:
    """Mix a method's colour with white: the smaller the model among the method's models, the paler."""
    size = table["target_sparsity"].fillna(-table["params"])
    sizes = sorted(size[table["compressor"] == rows["compressor"].iloc[0]].unique())
    white = PALEST * sizes.index(size[table["label"] == rows["label"].iloc[0]].iloc[0]) / max(1, len(sizes) - 1)
    red, green, blue = ((1 - white) * channel + white for channel in to_rgb(_look(rows, options).color))
    return red, green, blue


def _gain(scores: pd.Series[float], higher_is_better: pd.Series[bool]) -> pd.Series[float]:
    return scores.where(higher_is_better, 100 - scores)
