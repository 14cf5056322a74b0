"""Score against parameters, bytes, MACs and latency, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from bench.leaderboard.published import PUBLISHED
from bench.report.plots import canvas
from bench.report.plots.labels import place_labels
from bench.report.plots.published_scores import published_scores
from bench.report.plots.scores import (
    by_setting,
    overall_or_task_scores,
    panel_title,
    setting_label,
    without_filter_banks,
)
from bench.report.plots.series import QUIET_COLOR, TEACHER_COLOR, TEACHER_MARKER, Series, series
from bench.report.plots.sources import Source
from bench.report.plots.ticks import plain_log_scale
from bench.report.plots.writing import NothingToDrawError, Plot
from bench.report.tables.columns import MACS_SUPERB, PARAMS, RTF, SIZE, has_reduced_weights
from bench.store.latency import MEASURED_ON


@dataclass(frozen=True)
class Cost:
    """A cost of a model, on the horizontal axis."""

    column: str
    """Column of the leaderboard."""
    name: str
    """Name in file names."""
    label: str
    """Label of the axis."""
    unit: float
    """Values are divided by this."""


COSTS = (
    Cost(PARAMS.key, "params", PARAMS.title_with_unit, PARAMS.scale),
    Cost(SIZE.key, "size", SIZE.title_with_unit, SIZE.scale),
    Cost(MACS_SUPERB.key, "macs", MACS_SUPERB.title_with_unit, MACS_SUPERB.scale),
    Cost(RTF.key, "latency", f"{RTF.title} (thousandths)", 1e-3),
)


def plots(sources: Sequence[Source]) -> list[Plot]:
    """Make one figure per cost that was measured.

    Raises:
        NothingToDrawError: no run has scores of models whose cost is known.
    """
    found = _plots(overall_or_task_scores(sources), "pareto")
    if not found:
        raise NothingToDrawError(
            f"Expected scores of models whose cost is known, for the plot pareto. Found none in "
            f"{', '.join(str(source.path) for source in sources)}. Finish the run first."
        )
    return found


def published_plots(sources: Sequence[Source]) -> list[Plot]:
    """Make the figures of published models, together with runs that were evaluated on SUPERB's own corpora."""
    return _plots(published_scores(sources), "published")


def pareto_front(
    costs: NDArray[np.float64], scores: NDArray[np.float64], *, higher_is_better: bool
) -> NDArray[np.bool_]:
    """Find the points that no other point dominates (as cheap and as good, and cheaper or better).

    Args:
        costs: (points,), lower is better.
        scores: (points,).
        higher_is_better: of the scores.

    Returns:
        (points,) whether each is on the front; of equal points, all.
    """
    gains = scores if higher_is_better else -scores
    order = np.lexsort((-gains, costs))
    on_front = np.zeros(len(costs), dtype=bool)
    best, best_cost = -np.inf, -np.inf
    for index in order:
        if gains[index] > best or (gains[index] == best and costs[index] == best_cost):
            on_front[index] = True
            best, best_cost = gains[index], costs[index]
    return on_front


def draw(table: pd.DataFrame, width_in: float, *, cost: Cost) -> Figure:
    """Draw one panel per score.

    Args:
        table: as `plots` makes it, of one setting.
        width_in: of the figure.
        cost: on the horizontal axis.
    """
    groups = list(table.groupby(["task", "metric"], sort=False))
    is_wide = width_in > canvas.WIDTHS_IN["column"] + 1
    columns = (min(len(groups), 4) if len(groups) > 2 else 2) if is_wide else min(len(groups), 2)
    single = len(groups) == 1
    aspect = (0.45 if is_wide else 0.62) if single else 0.85
    figure, axes = canvas.panels(len(groups), width_in, columns=columns, aspect=aspect, extra_in=0.45, sharex=True)
    looks = {name: series(index) for index, name in enumerate(_compressors(table))}
    for panel, (_, points) in zip(axes, groups, strict=True):
        _draw_panel(panel, points, cost, looks)
        panel.set_title(panel_title(points))
    for panel in axes[-columns:]:
        panel.set_xlabel(cost.label)
        panel.tick_params(labelbottom=True)
    _draw_legend(figure, table, looks, is_wide=is_wide)
    machine = f"; {RTF.title} on one thread of {table[MEASURED_ON].iloc[0]}" if cost.column == RTF.key else ""
    canvas.mark(figure, f"{setting_label(table)}{machine}")
    for panel, (_, points) in zip(axes, groups, strict=True):
        # The teacher and the front choose their places first.
        ranked = points.sort_values(["is_teacher", "on_front"], ascending=False, kind="stable")
        labels = [canvas.name(label, canvas.LONGEST_LABEL) for label in ranked["label"]]
        num_important = int((points["is_teacher"] | points["on_front"]).sum())
        place_labels(figure, panel, _places(ranked, cost), labels, _front_corners(points, cost), num_important)
    return figure


def _plots(scores: pd.DataFrame, name: str) -> list[Plot]:
    return [
        Plot(figure, table, partial(draw, cost=cost))
        for cost in COSTS
        for figure, table in _tables(scores, cost, f"{name}-{cost.name}")
    ]


def _tables(scores: pd.DataFrame, cost: Cost, name: str) -> list[tuple[str, pd.DataFrame]]:
    """Make one table per setting; for latency, one per setting and machine."""
    known = without_filter_banks(scores)
    known = known[known[cost.column] > 0]
    if cost.column == SIZE.key and not has_reduced_weights(known):
        # The figure would look the same as that of the parameters.
        return []
    if known.empty:
        return []
    groups = ["setting", *([MEASURED_ON] if cost.column == RTF.key else [])]
    fronts = [
        pd.Series(
            pareto_front(
                group[cost.column].to_numpy(),
                group["score"].to_numpy(),
                higher_is_better=bool(group["higher_is_better"].iloc[0]),
            ),
            index=group.index,
        )
        for _, group in known.groupby([*groups, "task", "metric"], sort=False)
    ]
    table = known.assign(on_front=pd.concat(fronts))
    if MEASURED_ON not in groups:
        return by_setting(table, name)
    machines = list(table[MEASURED_ON].unique())
    return [
        part
        for number, machine in enumerate(machines, 1)
        for part in by_setting(
            table[table[MEASURED_ON] == machine], name if len(machines) == 1 else f"{name}-machine{number}"
        )
    ]


def _compressors(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table.loc[~table["is_teacher"], "compressor"].unique()]


def _draw_panel(axes: Axes, points: pd.DataFrame, cost: Cost, looks: dict[str, Series]) -> None:
    costs = points[cost.column] / cost.unit
    if costs.max() > 8 * costs.min():
        plain_log_scale(axes, costs.min(), costs.max())
    axes.plot(
        *zip(*_front_corners(points, cost), strict=True),
        color=QUIET_COLOR,
        linestyle="--",
        linewidth=0.9,
        zorder=1,
        gid="front",
    )
    for place, (_, row) in zip(costs, points.iterrows(), strict=True):
        look = None if row["is_teacher"] else looks[row["compressor"]]
        fill = "white" if row["is_published"] else None
        axes.errorbar(
            place,
            row["score"],
            yerr=row["score_std"] if pd.notna(row["score_std"]) else None,
            color=TEACHER_COLOR if look is None else look.color,
            marker=TEACHER_MARKER if look is None else look.marker,
            markersize=7 if look is None else 4.5,
            markerfacecolor=fill,
            markeredgecolor="black",
            markeredgewidth=0.5,
            ecolor="#404040",
            elinewidth=0.7,
            linestyle="none",
            zorder=3,
        )
    axes.margins(x=0.18, y=0.18)


def _front_corners(points: pd.DataFrame, cost: Cost) -> list[tuple[float, float]]:
    """List the corners of the front, a step function: the best score available at each cost."""
    front = points[points["on_front"]].sort_values(cost.column)
    corners: list[tuple[float, float]] = []
    for place in _places(front, cost):
        if corners:
            corners.append((place[0], corners[-1][1]))
        corners.append(place)
    return corners


def _places(points: pd.DataFrame, cost: Cost) -> list[tuple[float, float]]:
    return list(zip(points[cost.column] / cost.unit, points["score"], strict=True))


def _draw_legend(figure: Figure, table: pd.DataFrame, looks: dict[str, Series], *, is_wide: bool) -> None:
    handles = [Line2D([], [], color=QUIET_COLOR, linestyle="--", linewidth=0.9)]
    labels = ["Pareto front"]
    if table["is_teacher"].any():
        handles.append(_point(TEACHER_COLOR, TEACHER_MARKER, 7))
        labels.append("teacher")
    for compressor, look in looks.items():
        handles.append(_point(look.color, look.marker, 4.5, "white" if compressor == PUBLISHED else None))
        labels.append("not compressed" if compressor == "none" else compressor)
    canvas.legend(figure, handles, labels, columns=5 if is_wide else 3)


def _point(color: str, marker: str, size: float, fill: str | None = None) -> Line2D:
    return Line2D(
        [],
        [],
        color=color,
        marker=marker,
        markersize=size,
        markerfacecolor=fill,
        markeredgecolor="black",
        markeredgewidth=0.5,
        linestyle="",
    )
