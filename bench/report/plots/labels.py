"""Labels beside points, placed where they cover neither each other nor points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from bench.report.plots.series import QUIET_COLOR

Point = tuple[float, float]

DIRECTIONS = ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1))
DISTANCES_PT = (4.0, 8.0, 13.0, 19.0, 26.0)
POINT_SIZE_PT = 5.0
HORIZONTAL = {1: "left", 0: "center", -1: "right"}
_PLACES = tuple(product(DISTANCES_PT, DIRECTIONS))
VERTICAL = {1: "bottom", 0: "center", -1: "top"}


def place_labels(
    figure: Figure, axes: Axes, points: Sequence[Point], labels: Sequence[str], corners: Sequence[Point] = ()
) -> list[Annotation]:
    """Write a label beside each point, the nearest place first that is free.

    Call it when all else is drawn and the axes' limits are final: places are looked for in pixels.

    Args:
        figure: that holds the axes.
        axes: where.
        points: in data coordinates; those with an empty label are kept free alone.
        labels: one a point.
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
    for point, label in zip(points, labels, strict=True):
        if label:
            written.append(_place(axes, point, label, taken))
    return written


def _in_pixels(axes: Axes, points: Sequence[Point]) -> list[Point]:
    return [(float(x), float(y)) for x, y in axes.transData.transform(list(points))] if points else []


def _place(axes: Axes, point: Point, label: str, taken: list[Bbox]) -> Annotation:
    annotation = axes.annotate(label, point, xytext=(0, 0), textcoords="offset points", fontsize=6, zorder=6)
    # It would move the axes that its place was found for.
    annotation.set_in_layout(False)
    least_covered, best = float("inf"), _PLACES[0]
    for place in _PLACES:
        box = _move(annotation, *place)
        covered = sum(_overlap(box, other) for other in taken) + 2 * _outside(box, axes.bbox)
        if covered < least_covered:
            least_covered, best = covered, place
        if covered == 0:
            break
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


def _overlap(one: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(one, other)
    return 0.0 if common is None else float(common.width * common.height)


def _outside(box: Bbox, limits: Bbox) -> float:
    return float(box.width * box.height) - _overlap(box, Bbox(limits.get_points()))
