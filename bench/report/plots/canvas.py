"""What all figures share: style sheet, widths, a grid of panels, and text without markup."""

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
"""Widths of a column and of the text, in inches; the nearest values that fit both Interspeech and IEEE.

Source: Interspeech's author kit (columns of 80 mm and more, 170 mm of text); IEEEtran (3.5 and 7.16 inches).
"""

FONT = "DejaVu Sans"
"""The style sheet's font."""
MARK_LETTERS_AN_INCH = 24
LEGEND_LINE_IN = 0.13
"""Height of a line of a legend, in inches."""
LONGEST_NAME = 30
LONGEST_LABEL = 24
"""Longest label next to a point, in characters; more does not fit inside a panel."""


@contextmanager
def style() -> Iterator[None]:
    """Draw and write figures in the suite's style, independent of the user's matplotlib settings."""
    sheet = files("bench.report.plots") / "superb.mplstyle"
    with as_file(sheet) as path, matplotlib.rc_context(fname=str(path)):
        yield


def panels(
    count: int, width_in: float, *, columns: int, aspect: float, extra_in: float = 0.35, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Make a figure with a grid of panels.

    Args:
        count: number of panels.
        width_in: of the figure.
        columns: at most so many panels per row.
        aspect: height of a panel divided by its width.
        extra_in: additional height of the figure, for legends and marks.
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
    """Make a name drawable: one line, limited length, only characters that the font has.

    Names that are too long are cut in the middle: a label starts with the run's name and ends with the model's, and
    both are needed.
    """
    line = one_line(text)
    if len(line) <= longest:
        return line
    return f"{line[: (longest - 1) // 2]}…{line[-(longest // 2) :]}"


def one_line(text: str) -> str:
    """Make a text of any length drawable; characters that the font lacks become code points, such as [U+4E2D]."""
    known = _font_letters()
    line = "".join(sign if unicodedata.category(sign)[0] != "C" else " " for sign in text)
    return "".join(sign if ord(sign) in known else f"[U+{ord(sign):04X}]" for sign in " ".join(line.split()))


@cache
def _font_letters() -> frozenset[int]:
    """List the code points of the figures' font, which comes with matplotlib."""
    return frozenset(get_font(findfont(FONT)).get_charmap())


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int) -> None:
    """Put a legend above all panels; labels are drawn unchanged, including those that matplotlib would hide.

    Args:
        figure: grows in height if the legend needs more lines.
        handles: what is explained.
        labels: one per handle.
        columns: at most; fewer if the figure's width requires it.
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
    """Write the origin of the scores below the figure."""
    lines = textwrap.wrap(one_line(text), round(MARK_LETTERS_AN_INCH * figure.get_figwidth()))
    figure.supxlabel("\n".join(lines), x=0.995, ha="right", color="#606060")


def stamp(figure: Figure, text: str) -> None:
    """Write a warning across the figure, over all panels."""
    size = 72 * figure.get_figwidth() / len(text)
    stamped = figure.text(
        0.5, 0.5, text, ha="center", va="center", fontsize=size, color="#C00000", alpha=0.45, zorder=10
    )
    stamped.set_in_layout(False)
