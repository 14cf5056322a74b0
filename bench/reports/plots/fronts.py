"""Pareto fronts, and the line through the sizes of a method; for figures and for the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.reports.plots.series import UNCOMPRESSED
from bench.reports.tables.columns import MACS_SUPERB, PARAMS, RTF, SIZE
from bench.store.latency import MEASURED_ON

SCALE = [MEASURED_ON, "relative_scale"]
"""Real-time factors of different machines, and relative scores on different scales, have fronts of their own."""


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


PARAMS_COST = Cost(PARAMS.key, "params", PARAMS.title_with_unit, PARAMS.scale)
SIZE_COST = Cost(SIZE.key, "size", SIZE.title_with_unit, SIZE.scale)
MACS_SUPERB_COST = Cost(MACS_SUPERB.key, "macs", MACS_SUPERB.title_with_unit, MACS_SUPERB.scale)
LATENCY_COST = Cost(RTF.key, "latency", f"{RTF.title} (thousandths)", 1e-3)


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


def with_fronts(scores: pd.DataFrame, cost: Cost) -> pd.DataFrame:
    """Add ``on_front`` to the rows that have a cost: whether no other row of its setting, scale and score is better."""
    known = scores[scores[cost.column] > 0]
    scale = SCALE if cost is LATENCY_COST else SCALE[1:]
    on_front = pd.Series(data=False, index=known.index)
    for _, group in known.groupby(["setting", *scale, "task", "metric"], sort=False, dropna=False):
        on_front[group.index] = pareto_front(
            group[cost.column].to_numpy(),
            group["score"].to_numpy(),
            higher_is_better=bool(group["higher_is_better"].iloc[0]),
        )
    return known.assign(on_front=on_front)


def method_lines(points: pd.DataFrame, cost: Cost) -> Iterator[tuple[str, pd.DataFrame]]:
    """Select the points that a line joins: of each method of this suite, the best row of every size, cheapest first.

    Rows have the same size if their compression removed the same target share of the teacher.

    Args:
        points: of one score.
        cost: on the horizontal axis.
    """
    own = points[~points["is_teacher"] & ~points["is_published"] & (points["compressor"] != UNCOMPRESSED)]
    for method, rows in own.dropna(subset="target_sparsity").groupby("compressor", sort=False):
        sign = 1 if rows["higher_is_better"].iloc[0] else -1
        best = (sign * rows["score"]).groupby(rows["target_sparsity"]).idxmax()
        if len(best) > 1:
            yield str(method), rows.loc[best].sort_values(cost.column)


def front_corners(points: pd.DataFrame, cost: Cost) -> list[tuple[float, float]]:
    """List the corners of the front, a step function: the best score available at each cost."""
    front = points[points["on_front"]].sort_values(cost.column)
    corners: list[tuple[float, float]] = []
    for place in zip(front[cost.column] / cost.unit, front["score"], strict=True):
        if corners:
            corners.append((place[0], corners[-1][1]))
        corners.append(place)
    return corners
