"""Labels beside points, placed where they cover neither each other nor points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from numpy.typing import NDArray

from bench.report.plots.series import QUIET_COLOR

Floats = NDArray[np.float64]
"""Boxes are rows of x0, y0, x1, y1 in pixels."""
Point = tuple[float, float]
Place = tuple[float, tuple[int, int]]
"""Distance in points, and direction."""

DIRECTIONS = ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1))
DISTANCES_PT = (4.0, 8.0, 13.0, 19.0, 26.0)
NEAR_PT = 8.0
POINT_SIZE_PT = 5.0
FONT_SIZE_PT = 6
OUTSIDE_PX2 = 1e-6
ALWAYS_LABELLED = 5
"""Points of a panel: so few have room."""
HORIZONTAL = {1: "left", 0: "center", -1: "right"}
_PLACES = tuple(product(DISTANCES_PT, DIRECTIONS))
_NEAR = tuple((distance, direction) for distance, direction in _PLACES if distance <= NEAR_PT)
VERTICAL = {1: "bottom", 0: "center", -1: "top"}


@dataclass(frozen=True)
class Search:
    """How a label looks for its place."""

    is_far: bool
    """Whether it may be further from its point, at the end of a line."""
    must_place: bool
    """Whether the best place is taken, where none is free."""

    @property
    def is_modest(self) -> bool:
        """Whether the label is left out rather than taken for that of another point."""
        return not (self.is_far or self.must_place)

    @property
    def places(self) -> Sequence[Place]:
        """Those to try, in order."""
        return _NEAR if self.is_modest else _PLACES


def place_labels(
    figure: Figure,
    axes: Axes,
    points: Sequence[Point],
    labels: Sequence[str],
    corners: Sequence[Point] = (),
    num_important: int = 0,
) -> list[Annotation]:
    """Write a label beside each point, the nearest place first that is free.

    Call it when all else is drawn and the axes' limits are final: places are looked for in pixels. Of more than
    `ALWAYS_LABELLED` points, those stay without a label that have no free place near by, or none that is nearer to
    them than to another; earlier ones choose first.

    Args:
        figure: that holds the axes.
        axes: where.
        points: in data coordinates; those with an empty label are kept free alone.
        labels: one a point.
        num_important: of them, the first ones, which may look for a place further off.
        corners: of a line that labels are kept off too; its parts run along the axes.
    """
    figure.draw_without_rendering()
    centers = _in_pixels(axes, points)
    taken = _Taken(centers, _in_pixels(axes, corners), POINT_SIZE_PT * figure.dpi / 72 / 2)
    written = []
    for rank, (point, center, label) in enumerate(zip(points, centers, labels, strict=True)):
        search = Search(is_far=rank < num_important, must_place=len(points) <= ALWAYS_LABELLED)
        if not label:
            continue
        boxes = _boxes(center, _size(axes, label), search.places, figure.dpi)
        covered: Floats = taken.covered(boxes) + 2 * _outside(boxes, np.array(axes.bbox.extents))
        if search.is_modest:
            covered = covered + taken.is_nearer_to_another(boxes, center)
        best = int(covered.argmin())  # The first of equals, so the nearest that is free.
        if covered[best] > 0 and not search.must_place:
            continue
        taken.add(boxes[best])
        written.append(_write(axes, point, label, search.places[best]))
    return written


class _Taken:
    """What labels are kept off: points, a line, and labels that have their place."""

    def __init__(self, centers: Floats, line: Floats, radius: float) -> None:
        self._centers = centers
        corners = [np.concatenate([np.minimum(a, b) - 1, np.maximum(a, b) + 1]) for a, b in pairwise(line)]
        self._boxes = np.concatenate([centers - radius, centers + radius], axis=1)
        self._boxes = np.concatenate([self._boxes, np.reshape(corners, (-1, 4))])

    def add(self, box: Floats) -> None:
        """Keep further labels off this one."""
        self._boxes = np.concatenate([self._boxes, box[None]])

    def covered(self, boxes: Floats) -> Floats:
        """Measure how many square pixels each box covers."""
        # Few are within reach, so that the sum over all pairs stays small however many points there are.
        reach = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
        near = self._boxes[(self._boxes[:, :2] < reach[2:]).all(axis=1) & (self._boxes[:, 2:] > reach[:2]).all(axis=1)]
        covered: Floats = _overlaps(boxes, near).sum(axis=1)
        return covered

    def is_nearer_to_another(self, boxes: Floats, own: Floats) -> NDArray[np.bool_]:
        """Say of each box whether another point is nearer to it than its own."""
        result: NDArray[np.bool_] = _distances(boxes, self._centers).min(axis=1) < _distances(boxes, own[None])[:, 0]
        return result


def _in_pixels(axes: Axes, points: Sequence[Point]) -> Floats:
    pixels: Floats = np.reshape(axes.transData.transform(list(points)) if points else [], (-1, 2)).astype(float)
    return pixels


def _size(axes: Axes, label: str) -> Point:
    """Measure the width and height of a label in pixels."""
    measured = axes.text(0, 0, label, fontsize=FONT_SIZE_PT)
    extent = measured.get_window_extent()
    measured.remove()
    return float(extent.width), float(extent.height)


def _boxes(center: Floats, size: Point, places: Sequence[Place], dpi: float) -> Floats:
    """Find where a label would lie at each place."""
    directions = np.array([direction for _, direction in places])
    steps = np.array([_step_pt(*place) for place in places])[:, None] * directions * dpi / 72
    # Text to the right of its point begins there, text to the left ends there, text above or below is centred.
    low = center + steps + (directions - 1) / 2 * np.array(size)
    return np.concatenate([low, low + np.array(size)], axis=1)


def _step_pt(distance: float, direction: tuple[int, int]) -> float:
    return distance if 0 in direction else distance / 2**0.5


def _write(axes: Axes, point: Point, label: str, place: Place) -> Annotation:
    distance, direction = place
    step = _step_pt(distance, direction)
    offset_pt = (step * direction[0], step * direction[1])
    annotation = axes.annotate(
        label,
        point,
        xytext=offset_pt,
        textcoords="offset points",
        fontsize=FONT_SIZE_PT,
        zorder=6,
        horizontalalignment=HORIZONTAL[direction[0]],
        verticalalignment=VERTICAL[direction[1]],
    )
    # It would move the axes that its place was found for.
    annotation.set_in_layout(False)
    if distance > DISTANCES_PT[0]:
        _point_at(axes, point, offset_pt)
    return annotation


def _point_at(axes: Axes, point: Point, offset_pt: Point) -> None:
    style = {"arrowstyle": "-", "color": QUIET_COLOR, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2.5}
    pointer = axes.annotate("", point, xytext=offset_pt, textcoords="offset points", arrowprops=style)
    pointer.set_in_layout(False)


def _overlaps(boxes: Floats, others: Floats) -> Floats:
    """Measure the common areas of all pairs of boxes: (boxes, others)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    areas: Floats = np.clip(high - low, 0, None).prod(axis=2)
    return areas


def _outside(boxes: Floats, limits: Floats) -> Floats:
    inside: Floats = _overlaps(boxes, limits[None])[:, 0]
    outside: Floats = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - inside
    # Rounding must not make a box that lies inside look as if it did not.
    return np.where(outside < OUTSIDE_PX2, 0.0, outside)


def _distances(boxes: Floats, points: Floats) -> Floats:
    """Measure how far each point is from each box: (boxes, points)."""
    gaps = np.maximum(np.maximum(boxes[:, None, :2] - points, points - boxes[:, None, 2:]), 0)
    distances: Floats = np.hypot(gaps[..., 0], gaps[..., 1])
    return distances
