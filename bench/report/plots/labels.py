"""Labels beside points, placed where they cover neither each other nor points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from bench.report.plots.series import QUIET_COLOR

Point = tuple[float, float]
Place = tuple[float, tuple[int, int]]
"""Distance in points, and direction."""

DIRECTIONS = ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1))
DISTANCES_PT = (4.0, 8.0, 13.0, 19.0, 26.0)
NEAR_PT = 8.0
POINT_SIZE_PT = 5.0
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
    radius = POINT_SIZE_PT * figure.dpi / 72 / 2
    taken = [Bbox.from_extents(x - radius, y - radius, x + radius, y + radius) for x, y in centers]
    line = _in_pixels(axes, corners)
    taken += [
        Bbox.from_extents(min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1)
        for (x0, y0), (x1, y1) in pairwise(line)
    ]
    written = []
    for rank, (point, label) in enumerate(zip(points, labels, strict=True)):
        search = Search(is_far=rank < num_important, must_place=len(points) <= ALWAYS_LABELLED)
        if label and (annotation := _place(axes, point, label, taken, centers, search)) is not None:
            written.append(annotation)
    return written


def _in_pixels(axes: Axes, points: Sequence[Point]) -> list[Point]:
    return [(float(x), float(y)) for x, y in axes.transData.transform(list(points))] if points else []


def _place(
    axes: Axes, point: Point, label: str, taken: list[Bbox], centers: Sequence[Point], search: Search
) -> Annotation | None:
    annotation = axes.annotate(label, point, xytext=(0, 0), textcoords="offset points", fontsize=6, zorder=6)
    # It would move the axes that its place was found for.
    annotation.set_in_layout(False)
    least_covered, best = float("inf"), _PLACES[0]
    (own,) = _in_pixels(axes, [point])
    for place in search.places:
        box = _move(annotation, *place)
        covered = sum(_overlap(box, other) for other in taken) + 2 * _outside(box, axes.bbox)
        if search.is_modest and _is_nearer(box, centers, own):
            covered += 1
        if covered < least_covered:
            least_covered, best = covered, place
        if covered == 0:
            break
    if least_covered > 0 and not search.must_place:
        annotation.remove()
        return None
    taken.append(_move(annotation, *best))
    if best[0] > DISTANCES_PT[0]:
        _point_at(axes, point, annotation.get_position())
    return annotation


def _point_at(axes: Axes, point: Point, offset_pt: Point) -> None:
    style = {"arrowstyle": "-", "color": QUIET_COLOR, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2.5}
    pointer = axes.annotate("", point, xytext=offset_pt, textcoords="offset points", arrowprops=style)
    pointer.set_in_layout(False)


def _move(annotation: Annotation, distance: float, direction: tuple[int, int]) -> Bbox:
    step = distance if 0 in direction else distance / 2**0.5
    annotation.set_position((step * direction[0], step * direction[1]))
    annotation.set_horizontalalignment(HORIZONTAL[direction[0]])  # type: ignore[arg-type]
    annotation.set_verticalalignment(VERTICAL[direction[1]])  # type: ignore[arg-type]
    return annotation.get_window_extent()


def _is_nearer(box: Bbox, others: Sequence[Point], own: Point) -> bool:
    """Say whether a label is nearer to another point than to its own."""
    return any(_distance(box, other) < _distance(box, own) for other in others)


def _distance(box: Bbox, point: Point) -> float:
    x, y = point
    return math.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))


def _overlap(one: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(one, other)
    return 0.0 if common is None else float(common.width * common.height)


def _outside(box: Bbox, limits: Bbox) -> float:
    return float(box.width * box.height) - _overlap(box, Bbox(limits.get_points()))
