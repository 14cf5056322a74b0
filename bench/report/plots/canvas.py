"""What all figures share: the style sheet, the widths, a grid of panels, and text that is only text."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

WIDTHS_IN = {"column": 3.35, "page": 7.0}
"""Of a column and of the text, in inches, as Interspeech and IEEE set them, to the nearest that fits both.

Source: Interspeech's author kit (columns of 80 mm and more, 170 mm of text); IEEEtran (3.5 and 7.16 inches)."""

FONT = "DejaVu Sans"
"""That of the style sheet."""
MARK_LETTERS_AN_INCH = 24
LEGEND_LINE_IN = 0.13
"""Height of a line of a legend."""
LONGEST_NAME = 30
LONGEST_LABEL = 24
"""Beside a point: more does not fit between the axes of a panel."""


@contextmanager
def style() -> Iterator[None]:
    """Draw and write figures in the suite's style, whatever the user's own settings of matplotlib are."""
    sheet = files("bench.report.plots") / "superb.mplstyle"
    with as_file(sheet) as path, matplotlib.rc_context(fname=str(path)):
        yield


def panels(
    count: int, width_in: float, *, columns: int, aspect: float, extra_in: float = 0.35, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Make a figure with a grid of panels.

    Args:
        count: how many panels.
        width_in: of the figure.
        columns: panels in a row, at most.
        aspect: height of a panel by its width.
        extra_in: of the figure's height, for legends and marks.
        options: of matplotlib's ``subplots``.

    Returns:
        The figure, and its panels row by row.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width_in, rows * aspect * width_in / columns + extra_in))
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def name(text: str, longest: int = LONGEST_NAME) -> str:
    """Make a name fit to be drawn: one line, only what the font has, not endless.

    What is too long loses its middle: a run's name comes first in a label and a model's last, and both are needed.
    """
    line = one_line(text)
    if len(line) <= longest:
        return line
    return f"{line[: (longest - 1) // 2]}…{line[-(longest // 2) :]}"


def one_line(text: str) -> str:
    """Make a text fit to be drawn, however long; what the font lacks is shown as its code point, as [U+4E2D]."""
    known = _font_letters()
    line = "".join(sign if unicodedata.category(sign)[0] != "C" else " " for sign in text)
    return "".join(sign if ord(sign) in known else f"[U+{ord(sign):04X}]" for sign in " ".join(line.split()))


@cache
def _font_letters() -> frozenset[int]:
    """List the code points of the font of all figures, which comes with matplotlib."""
    return frozenset(get_font(findfont(FONT)).get_charmap())


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int) -> None:
    """Put a legend above all panels; labels are drawn as they are, also those that matplotlib would hide.

    Args:
        figure: becomes higher where the legend needs more lines than in so many columns.
        handles: what is explained.
        labels: one each.
        columns: at most; as many as fit the figure's width.
    """
    if not handles:
        return
    lines = -(-len(handles) // columns)
    for fewer in range(min(columns, len(handles)), 0, -1):
        placed = figure.legend(handles, ["."] * len(labels), loc="outside upper left", ncols=fewer, mode=None)
        for text, label in zip(placed.get_texts(), labels, strict=True):
            text.set_text(name(label))
        if fewer == 1 or placed.get_window_extent().width <= figure.bbox.width:
            figure.set_figheight(figure.get_figheight() + LEGEND_LINE_IN * (-(-len(handles) // fewer) - lines))
            return
        placed.remove()


def mark(figure: Figure, text: str) -> None:
    """Say below the figure where its scores come from."""
    lines = textwrap.wrap(one_line(text), round(MARK_LETTERS_AN_INCH * figure.get_figwidth()))
    figure.supxlabel("\n".join(lines), x=0.995, ha="right", color="#606060")


def stamp(figure: Figure, text: str) -> None:
    """Write a warning across the figure, over all panels."""
    size = 72 * figure.get_figwidth() / len(text)
    stamped = figure.text(
        0.5, 0.5, text, ha="center", va="center", fontsize=size, color="#C00000", alpha=0.45, zorder=10
    )
    stamped.set_in_layout(False)
