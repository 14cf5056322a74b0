"""Labels next to points, placed so that they cover neither each other nor points."""

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
"""Number of points in a panel up to which every point gets a label."""
HORIZONTAL = {1: "left", 0: "center", -1: "right"}
_PLACES = tuple(product(DISTANCES_PT, DIRECTIONS))
_NEAR = tuple((distance, direction) for distance, direction in _PLACES if distance <= NEAR_PT)
VERTICAL = {1: "bottom", 0: "center", -1: "top"}


@dataclass(frozen=True)
class Search:
    """How to search for the place of a label."""

    is_far: bool
    """Whether the label may be further from its point, connected by a line."""
    must_place: bool
    """Whether to take the best place if none is free."""

    @property
    def is_modest(self) -> bool:
        """Whether to leave the label out if it could be read as another point's."""
        return not (self.is_far or self.must_place)

    @property
    def places(self) -> Sequence[Place]:
        """Places to try, in order."""
        return _NEAR if self.is_modest else _PLACES


def place_labels(
    figure: Figure,
    axes: Axes,
    points: Sequence[Point],
    labels: Sequence[str],
    corners: Sequence[Point] = (),
    num_important: int = 0,
) -> list[Annotation]:
    """Write a label next to each point, at the nearest place that is free.

    Call it when everything else is drawn and the axes' limits are final, because places are searched in pixels. If
    there are more than `ALWAYS_LABELLED` points, a point stays without a label if no place near it is free, or if every
    free place is nearer to another point. Earlier points choose first.

    Args:
        figure: that holds the axes.
        axes: where to write.
        points: in data coordinates; a point with an empty label is only kept uncovered.
        labels: one per point.
        num_important: so many of the first points may also use places further away.
        corners: of a line that labels must not cover; its segments are parallel to the axes.
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
    """What labels must not cover: points, a line, and labels placed before."""

    def __init__(self, centers: Floats, line: Floats, radius: float) -> None:
        self._centers = centers
        corners = [np.concatenate([np.minimum(a, b) - 1, np.maximum(a, b) + 1]) for a, b in pairwise(line)]
        self._boxes = np.concatenate([centers - radius, centers + radius], axis=1)
        self._boxes = np.concatenate([self._boxes, np.reshape(corners, (-1, 4))])

    def add(self, box: Floats) -> None:
        """Keep further labels off this one."""
        self._boxes = np.concatenate([self._boxes, box[None]])

    def covered(self, boxes: Floats) -> Floats:
        """Measure how many square pixels of each box are already taken."""
        # Few are within reach, so the sum over all pairs stays small with any number of points.
        reach = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
        near = self._boxes[(self._boxes[:, :2] < reach[2:]).all(axis=1) & (self._boxes[:, 2:] > reach[:2]).all(axis=1)]
        covered: Floats = _overlaps(boxes, near).sum(axis=1)
        return covered

    def is_nearer_to_another(self, boxes: Floats, own: Floats) -> NDArray[np.bool_]:
        """Return for each box whether another point is nearer to it than its own."""
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
    """Return the box of a label at each place."""
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
    # Including it in the layout would move the axes, and its place was computed for their current position.
    annotation.set_in_layout(False)
    if distance > DISTANCES_PT[0]:
        _point_at(axes, point, offset_pt)
    return annotation


def _point_at(axes: Axes, point: Point, offset_pt: Point) -> None:
    style = {"arrowstyle": "-", "color": QUIET_COLOR, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2.5}
    pointer = axes.annotate("", point, xytext=offset_pt, textcoords="offset points", arrowprops=style)
    pointer.set_in_layout(False)


def _overlaps(boxes: Floats, others: Floats) -> Floats:
    """Measure the overlap of all pairs of boxes: (boxes, others)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    areas: Floats = np.clip(high - low, 0, None).prod(axis=2)
    return areas


def _outside(boxes: Floats, limits: Floats) -> Floats:
    inside: Floats = _overlaps(boxes, limits[None])[:, 0]
    outside: Floats = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - inside
    # Rounding errors must not make a box inside the limits look as if it were outside.
    return np.where(outside < OUTSIDE_PX2, 0.0, outside)


def _distances(boxes: Floats, points: Floats) -> Floats:
    """Measure the distance of each point from each box: (boxes, points)."""
    gaps = np.maximum(np.maximum(boxes[:, None, :2] - points, points - boxes[:, None, 2:]), 0)
    distances: Floats = np.hypot(gaps[..., 0], gaps[..., 1])
    return distances
