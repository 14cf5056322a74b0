"""How much of the teacher's score each task keeps, as bars."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.leaderboard.titles import score_title
from bench.report.plots import canvas
from bench.report.plots.scores import by_setting, setting_label, task_scores, without_filter_banks
from bench.report.plots.series import Series, series
from bench.report.plots.sources import Source
from bench.report.plots.writing import NothingToDrawError, Plot

logger = logging.getLogger(__name__)

NUMBERED_AT_MOST = {"column": 10, "page": 28}
"""Values are written above bars only up to so many bars per row, in a column and on a page; more do not fit."""
BARS_IN_A_ROW = {"column": 32, "page": 80}
EDGE = "#202020"
Group = tuple[str, str]
"""Task and metric."""
GROUP_WIDTH = 0.8
WIDEST_BAR = 0.3


def plots(sources: Sequence[Source]) -> list[Plot]:
    """Make one figure for all tasks.

    Raises:
        NothingToDrawError: no run has the scores of both a model and its teacher.
    """
    relative = relative_to_teacher(without_filter_banks(task_scores(sources)))
    if relative.empty:
        raise NothingToDrawError(
            f"Expected scores of models beside their teacher's, for the plot bars. Found none in "
            f"{', '.join(str(source.path) for source in sources)}. Evaluate the teacher too."
        )
    return [Plot(name, table, draw) for name, table in by_setting(relative, "bars")]


def relative_to_teacher(scores: pd.DataFrame) -> pd.DataFrame:
    """Relate every model's score to the score of its run's teacher.

    An error rate e counts as 100 - e, so that higher is always better.

    Args:
        scores: from `task_scores`.

    Returns:
        The models' rows with ``teacher_score``, ``relative`` (the teacher has 100) and ``relative_std``, the standard
        deviation over the model's seeds on the same scale. Rows whose teacher's score is missing or not above 0 are
        left out.
    """
    key = ["run", "setting", "task", "metric"]
    # If several runs have the same teacher, `task_scores` keeps only the first; so fall back to a lookup without the
    # run.
    teachers = scores[scores["is_teacher"]]
    own = teachers.drop_duplicates(key).set_index(key)["score"]
    shared = teachers.drop_duplicates(key[1:]).set_index(key[1:])["score"]
    models = scores[~scores["is_teacher"]]
    found = [own.get(tuple(row[key]), shared.get(tuple(row[key[1:]]))) for _, row in models.iterrows()]
    models = models.assign(teacher_score=pd.Series(found, index=models.index, dtype="float64"))
    teacher_gain = _gain(models["teacher_score"], models["higher_is_better"])
    usable = teacher_gain > 0
    for label in models.loc[models["teacher_score"].notna() & ~usable, "label"].unique():
        logger.warning("bars: %s is left out where its teacher is right nowhere", label)
    gain = _gain(models["score"], models["higher_is_better"])
    models = models.assign(relative=100 * gain / teacher_gain, relative_std=100 * models["score_std"] / teacher_gain)
    return models[usable].reset_index(drop=True)


def draw(table: pd.DataFrame, width_in: float) -> Figure:
    """Draw one group of bars per score, in as many rows as needed.

    Args:
        table: from `relative_to_teacher`, of one setting.
        width_in: of the figure.
    """
    is_wide = width_in > canvas.WIDTHS_IN["column"] + 1
    width = "page" if is_wide else "column"
    groups = list(dict.fromkeys(zip(table["task"], table["metric"], strict=True)))
    looks = {str(model): series(index) for index, model in enumerate(dict.fromkeys(table["label"]))}
    in_a_row = max(1, BARS_IN_A_ROW[width] // len(looks))
    num_rows = -(-len(groups) // in_a_row)
    in_a_row = -(-len(groups) // num_rows)
    figure, axes = canvas.panels(
        num_rows,
        width_in,
        columns=1,
        aspect=0.26 if is_wide else 0.42,
        extra_in=0.3 + canvas.LEGEND_LINE_IN * len(looks) / 3,
        sharey=True,
    )
    for place, panel in enumerate(axes):
        shown = groups[place * in_a_row : (place + 1) * in_a_row]
        _draw_row(panel, table, shown, looks, is_numbered=len(shown) * len(looks) <= NUMBERED_AT_MOST[width])
        panel.set_xlim(-0.6, in_a_row - 0.4)
    # Above the panels, because a legend of many models leaves too little height for this text.
    axes[0].set_title("relative to the teacher ↑")
    handles: list[Artist] = [Line2D([], [], color="black", linewidth=0.8, linestyle="--")]
    handles += [Patch(facecolor=look.color, hatch=look.hatch, edgecolor=EDGE, linewidth=0.5) for look in looks.values()]
    canvas.legend(figure, handles, ["teacher (100)", *looks], columns=5 if is_wide else 3)
    errors = "" if table["higher_is_better"].all() else "; an error rate e counts as 100 - e"
    canvas.mark(figure, f"{setting_label(table)}{errors}")
    return figure


def _draw_row(
    axes: Axes, table: pd.DataFrame, groups: Sequence[Group], looks: Mapping[str, Series], *, is_numbered: bool
) -> None:
    width = min(GROUP_WIDTH / len(looks), WIDEST_BAR)
    for index, (model, look) in enumerate(looks.items()):
        rows = table[table["label"] == model].set_index(["task", "metric"])
        places = [place for place, group in enumerate(groups) if group in rows.index]
        values = rows.loc[[groups[place] for place in places]]
        spread = values["relative_std"]
        bars = axes.bar(
            np.array(places) + (index - (len(looks) - 1) / 2) * width,
            values["relative"],
            width=0.92 * width,
            yerr=spread.fillna(0) if spread.notna().any() else None,
            color=look.color,
            hatch=look.hatch,
            edgecolor=EDGE,
            linewidth=0.5,
            error_kw={"elinewidth": 0.7, "ecolor": "#404040"},
        )
        if is_numbered:
            for number in axes.bar_label(bars, fmt="%.1f", padding=1.5, fontsize=5.5, zorder=5):
                number.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6})
    axes.axhline(100, color="black", linewidth=0.8, linestyle="--", zorder=3)
    axes.axhline(0, color="#404040", linewidth=0.6)
    axes.set_xticks(range(len(groups)), [score_title(*group).replace(" ", "\n", 1) for group in groups])
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.12)


def _gain(scores: pd.Series[float], higher_is_better: pd.Series[bool]) -> pd.Series[float]:
    return scores.where(higher_is_better, 100 - scores)
