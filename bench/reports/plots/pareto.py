"""Score against parameters, bytes, MACs and latency, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from bench.leaderboard.published import SUPERB_SCORES
from bench.leaderboard.shown_scores import overall, overall_or_by_task, shown_scores, without_filter_banks
from bench.reports.plots import canvas
from bench.reports.plots.canvas import Options
from bench.reports.plots.fronts import (
    LATENCY_COST,
    MACS_SUPERB_COST,
    PARAMS_COST,
    SIZE_COST,
    Cost,
    front_corners,
    method_lines,
    with_fronts,
)
from bench.reports.plots.scores import boards_of, by_setting, panel_title, scores_of, setting_label
from bench.reports.plots.series import QUIET_COLOR, TEACHER_COLOR, TEACHER_MARKER, UNCOMPRESSED
from bench.reports.plots.sources import Source
from bench.reports.plots.writing import NothingToDrawError, Plot
from bench.reports.tables.columns import RTF, has_reduced_weights
from bench.store.latency import MEASURED_ON

COSTS = (PARAMS_COST, SIZE_COST, MACS_SUPERB_COST, LATENCY_COST)
MOST_LABELLED = 20
"""With more rows in a panel, only the teacher, the front and the rows that the user asked for get labels."""
LABEL_STEPS = 200
"""Labels are moved apart in at most so many steps. A limit of time would make the figure depend on the machine."""
FADED = 0.35
"""Opacity of points that are not on the front."""
SIZES_PT = (3.0, 6.5)
"""Diameters of the markers of the smallest and the largest model of a panel."""
FRONT: dict[str, Any] = {"color": "#404040", "linestyle": "--", "linewidth": 0.9}
EDGE: dict[str, Any] = {"markeredgecolor": "black", "markeredgewidth": 0.5}


def plots(sources: Sequence[Source]) -> list[Plot]:
    """Make one figure per cost that was measured.

    Raises:
        NothingToDrawError: no run has scores of models whose cost is known.
    """
    found = _plots(overall_or_by_task(scores_of(sources), boards_of(sources)), "pareto")
    if not found:
        raise NothingToDrawError(
            f"Expected scores of models whose cost is known, for the plot pareto. Found none in "
            f"{', '.join(str(source.path) for source in sources)}. Finish the run first."
        )
    return found


def published_plots(sources: Sequence[Source]) -> list[Plot]:
    """Make the figures of published models, together with runs that were evaluated on SUPERB's own corpora."""
    scores = shown_scores(boards_of(sources), with_published=True)
    found = [overall(scores, name) for name in SUPERB_SCORES]
    with_own = next((table for table in found if not table["is_published"].all()), found[0])
    return _plots(with_own.assign(setting=1), "published")


def draw(table: pd.DataFrame, options: Options, *, cost: Cost) -> Figure:
    """Draw one panel per score.

    Args:
        table: as `plots` makes it, of one setting.
        options: of the figure.
        cost: on the horizontal axis.
    """
    groups = [points for _, points in table.groupby(["task", "metric"], sort=False)]
    columns = (min(len(groups), 4) if len(groups) > 2 else 2) if options.is_wide else min(len(groups), 2)
    aspect = (0.5 if options.is_wide else 0.85) if len(groups) == 1 else 0.85
    figure, axes = canvas.panels(len(groups), options, columns=columns, aspect=aspect, extra_in=0.45, sharex=True)
    for panel, points in zip(axes, groups, strict=True):
        _draw_panel(panel, points, cost, options)
        panel.set_title(panel_title(points))
    for panel in axes[-columns:]:
        panel.set_xlabel(cost.label)
        panel.tick_params(labelbottom=True)
    _draw_legend(figure, table, options)
    machine = f"; {RTF.title} on one thread of {table[MEASURED_ON].iloc[0]}" if cost is LATENCY_COST else ""
    canvas.mark(figure, options, f"{setting_label(table)}{machine}")
    # Labels are placed in pixels, so the layout must be final.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for panel, points in zip(axes, groups, strict=True):
        _draw_labels(panel, points, cost, options)
    return figure


def _plots(scores: pd.DataFrame, name: str) -> list[Plot]:
    known = without_filter_banks(scores)
    # Without reduced weights, the figure of the bytes would look the same as that of the parameters.
    costs = [cost for cost in COSTS if cost is not SIZE_COST or has_reduced_weights(known)]
    return [
        Plot(figure, table, partial(draw, cost=cost))
        for cost in costs
        for part, rows in _by_machine(with_fronts(known, cost), cost)
        for figure, table in by_setting(rows, f"{name}-{cost.name}{part}")
    ]


def _by_machine(table: pd.DataFrame, cost: Cost) -> list[tuple[str, pd.DataFrame]]:
    """Split measured latencies by the machine; each part has an end for the figure's name."""
    machines = list(table[MEASURED_ON].unique()) if cost is LATENCY_COST else []
    if len(machines) < 2:
        return [("", table)]
    return [(f"-machine{number}", table[table[MEASURED_ON] == one]) for number, one in enumerate(machines, 1)]


def _draw_panel(axes: Axes, points: pd.DataFrame, cost: Cost, options: Options) -> None:
    costs = points[cost.column] / cost.unit
    canvas.log_scale(axes, costs)
    axes.plot(
        *zip(*front_corners(points, cost), strict=True),
        **FRONT,
        zorder=2,
        gid="front",
    )
    for method, rows in method_lines(points, cost):
        axes.plot(
            rows[cost.column] / cost.unit,
            rows["score"],
            color=options.looks[method].color,
            linewidth=1,
            alpha=0.7,
            marker="None",
            zorder=2,
        )
    spread = points.dropna(subset="score_std")
    axes.errorbar(
        spread[cost.column] / cost.unit, spread["score"], yerr=spread["score_std"], fmt="none", ecolor="#8a8a8a",
        elinewidth=0.6, zorder=2,
    )  # fmt: skip
    share = points["params"] / points["params"].max()
    sizes = SIZES_PT[0] + (SIZES_PT[1] - SIZES_PT[0]) * np.sqrt(share)
    looks = zip(points["compressor"], points["is_teacher"], points["is_published"], points["on_front"], strict=True)
    for look, x, y, size in zip(looks, costs, points["score"], sizes, strict=True):
        method, is_teacher, is_published, on_front = look
        axes.plot(
            x, y, **_marker(method, options, is_teacher=is_teacher, is_published=is_published), markersize=size,
            alpha=1 if on_front or is_teacher else FADED, zorder=4 if on_front else 3,
        )  # fmt: skip
    axes.margins(x=0.14, y=0.22)


def _marker(method: str, options: Options, *, is_teacher: bool, is_published: bool) -> dict[str, Any]:
    if is_teacher:
        return {"color": TEACHER_COLOR, "marker": TEACHER_MARKER, "linestyle": "", **EDGE}
    look = options.looks[method]
    fill = {"markerfacecolor": "white"} if is_published else {}
    return {"color": look.color, "marker": look.marker, "linestyle": "", **EDGE, **fill}


def _draw_labels(axes: Axes, points: pd.DataFrame, cost: Cost, options: Options) -> None:
    """Label the points, moved apart so that no label covers another or a point.

    The rows of the runs have labels unless they are many. Published rows have one only if the user asked for it.
    """
    asked = points["model"].isin(options.labels) | points["label"].isin(options.labels)
    own = ~points["is_published"]
    is_few = own.sum() <= MOST_LABELLED
    shown = points[asked | (own & (is_few | points["is_teacher"] | points["on_front"]))]
    places = zip(shown[cost.column] / cost.unit, shown["score"], shown["label"], strict=True)
    labels: list[Text] = [
        axes.text(x, y, canvas.name(label, canvas.LONGEST_LABEL), fontsize=5.2, zorder=6) for x, y, label in places
    ]
    arrow = {"arrowstyle": "-", "color": QUIET_COLOR, "linewidth": 0.4, "zorder": 5}
    everywhere = (
        {"x": points[cost.column] / cost.unit, "y": points["score"]} if len(points) <= MOST_LABELLED * 3 else {}
    )
    adjust_text(
        labels, **everywhere, ax=axes, iter_lim=LABEL_STEPS, force_text=(0.3, 0.6), expand=(1.1, 1.35), arrowprops=arrow
    )


def _draw_legend(figure: Figure, table: pd.DataFrame, options: Options) -> None:
    handles = [Line2D([], [], **FRONT)]
    labels = ["Pareto front"]
    kinds = table[["compressor", "is_teacher", "is_published"]].drop_duplicates()
    for _, kind in kinds.sort_values(["is_teacher", "compressor"], ascending=[False, True]).iterrows():
        look = _marker(kind["compressor"], options, is_teacher=kind["is_teacher"], is_published=kind["is_published"])
        label = "teacher" if kind["is_teacher"] else kind["compressor"]
        if label not in labels:
            handles.append(Line2D([], [], markersize=7 if kind["is_teacher"] else 4.5, **look))
            labels.append("not compressed" if label == UNCOMPRESSED else label)
    canvas.legend(figure, handles, labels, columns=5 if options.is_wide else 3)
