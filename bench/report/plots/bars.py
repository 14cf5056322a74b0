"""What each task keeps of the teacher's score, as bars."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.report.plots import canvas
from bench.report.plots.scores import by_setting, score_label, setting_label, task_scores
from bench.report.plots.series import series
from bench.report.plots.sources import Source
from bench.report.plots.writing import NothingToDrawError, Plot

logger = logging.getLogger(__name__)

NUMBERED_AT_MOST = {"column": 10, "page": 28}
"""Bars that have their value written above; more of them leave no room."""
GROUP_WIDTH = 0.8
WIDEST_BAR = 0.3


def plots(sources: Sequence[Source]) -> list[Plot]:
    """Make one figure of all tasks.

    Raises:
        NothingToDrawError: no run has the scores of a model and of its teacher.
    """
    relative = relative_to_teacher(task_scores(sources))
    if relative.empty:
        raise NothingToDrawError(
            f"Expected scores of models beside their teacher's, for the plot bars. Found none in "
            f"{', '.join(str(source.path) for source in sources)}. Evaluate the teacher too."
        )
    return [Plot(name, table, draw) for name, table in by_setting(relative, "bars")]


def relative_to_teacher(scores: pd.DataFrame) -> pd.DataFrame:
    """Relate every model's score to that of its run's teacher.

    An error rate e counts as 100 - e, so that higher is better everywhere, as accuracies do.

    Args:
        scores: as `task_scores` lists them.

    Returns:
        The models' rows with ``teacher_score``, ``relative`` (the teacher has 100) and ``relative_std``, the spread
        over the model's seeds on the same scale. Rows without a teacher's score above 0 are left out.
    """
    key = ["run", "setting", "task", "metric"]
    # Of one teacher in several runs, `task_scores` keeps the first: others are found without their run.
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
    """Draw a group of bars for each score.

    Args:
        table: as `relative_to_teacher` makes it, of one setting.
        width_in: of the figure.
    """
    is_wide = width_in > canvas.WIDTHS_IN["column"] + 1
    figure, (axes,) = canvas.panels(1, width_in, columns=1, aspect=0.26 if is_wide else 0.42, extra_in=0.4)
    groups = list(dict.fromkeys(zip(table["task"], table["metric"], strict=True)))
    models = list(dict.fromkeys(table["label"]))
    width = min(GROUP_WIDTH / len(models), WIDEST_BAR)
    handles = []
    for index, model in enumerate(models):
        look = series(index)
        rows = table[table["label"] == model].set_index(["task", "metric"])
        places = [place for place, group in enumerate(groups) if group in rows.index]
        values = rows.loc[[groups[place] for place in places]]
        bars = axes.bar(
            np.array(places) + (index - (len(models) - 1) / 2) * width,
            values["relative"],
            width=0.92 * width,
            yerr=values["relative_std"].fillna(0) if values["relative_std"].notna().any() else None,
            color=look.color,
            hatch=look.hatch,
            edgecolor="#202020",
            linewidth=0.5,
            error_kw={"elinewidth": 0.7, "ecolor": "#404040"},
        )
        if len(table) <= NUMBERED_AT_MOST["page" if is_wide else "column"]:
            numbers = axes.bar_label(bars, fmt="%.1f", padding=1.5, fontsize=5.5, zorder=5)
            for number in numbers:
                number.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6})
        handles.append(Patch(facecolor=look.color, hatch=look.hatch, edgecolor="#202020", linewidth=0.5))
    axes.axhline(100, color="black", linewidth=0.8, linestyle="--", zorder=3)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_xticks(range(len(groups)), [score_label(task, metric) for task, metric in groups])
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("relative to the teacher")
    axes.margins(y=0.12)
    axes.axhline(0, color="#404040", linewidth=0.6)
    teacher = axes.plot([], [], color="black", linewidth=0.8, linestyle="--")[0]
    canvas.legend(figure, [teacher, *handles], ["teacher (100)", *models], columns=4 if is_wide else 3)
    canvas.mark(figure, f"{setting_label(table)}; an error rate e counts as 100 - e")
    return figure


def _gain(scores: pd.Series[float], higher_is_better: pd.Series[bool]) -> pd.Series[float]:
    return scores.where(higher_is_better, 100 - scores)
