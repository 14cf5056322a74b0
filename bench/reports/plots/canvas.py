"""What all figures share: style sheet, widths, a grid of panels, and text without markup."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import Formatter, FuncFormatter, LogLocator, NullLocator

from bench.reports.plots.series import Look

WIDTHS_IN = {
    "column": 3.35,
    "page": 7.0,
    "ieee-column": 3.5,
    "ieee-page": 7.16,
    "acl-column": 3.03,
    "acl-page": 6.3,
}
"""Widths of a column and of the text, in inches. ``column`` and ``page`` fit both Interspeech and IEEE.

Source: Interspeech's author kit (columns of 80 mm and more, 170 mm of text); IEEEtran (3.5 and 7.16 inches); ACL's
style files (columns of 77 mm, 160 mm of text).
"""
NARROWEST_PAGE_IN = 5.0
"""Figures of this width and more have room for more panels, and more columns of a legend."""

FONT = "DejaVu Sans"
"""It has the letters that other fonts lack."""
FONTS = {"sans": (FONT,), "times": ("STIXGeneral", FONT)}
"""Choices of a font, all of them parts of matplotlib. STIX looks like Times, which IEEE, ACL and Interspeech use in
papers.
"""
MARK_LETTERS_AN_INCH = 24
LEGEND_LINE_IN = 0.13
"""Height of a line of a legend, in inches."""
LONGEST_NAME = 30
LONGEST_LABEL = 24
"""Longest label next to a point, in characters; more does not fit inside a panel."""


@dataclass(frozen=True)
class Options:
    """How the user wants the figures to look."""

    width_in: float = WIDTHS_IN["column"]
    title: str = ""
    """Written above the panels."""
    has_footer: bool = True
    """Whether the figure says below its panels where its scores come from."""
    labels: frozenset[str] = frozenset()
    """Rows to label in addition to those that are labelled anyway."""
    font: str = "sans"
    """Key of `FONTS`."""
    looks: Mapping[str, Look] = field(default_factory=dict)
    """Look of every method."""

    @property
    def is_wide(self) -> bool:
        """Whether the figure is as wide as a page, not a column."""
        return self.width_in >= NARROWEST_PAGE_IN


plain_numbers = FuncFormatter(lambda value, _: Formatter.fix_minus(f"{value:g}"))
"""Writes ticks without powers of ten."""


@contextmanager
def style(font: str = "sans") -> Iterator[None]:
    """Draw and write figures in the suite's style, independent of the user's matplotlib settings.

    Args:
        font: a key of `FONTS`.
    """
    sheet = files("bench.reports.plots") / "superb.mplstyle"
    with as_file(sheet) as path, matplotlib.rc_context(fname=str(path)):
        matplotlib.rcParams["font.family"] = list(FONTS[font])
        yield


def panels(
    count: int, options: Options, *, columns: int, aspect: float, extra_in: float = 0.35, **subplots: Any
) -> tuple[Figure, list[Axes]]:
    """Make a figure with a grid of panels.

    Args:
        count: number of panels.
        options: its width and title.
        columns: at most so many panels per row.
        aspect: height of a panel divided by its width.
        extra_in: additional height of the figure, for legends and marks.
        subplots: options of matplotlib's ``subplots``.

    Returns:
        The figure, and its panels row by row.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    title_in = 0.2 if options.title else 0.0
    height_in = rows * aspect * options.width_in / columns + extra_in + title_in
    figure = Figure(figsize=(options.width_in, height_in))
    FigureCanvasAgg(figure)
    if options.title:
        figure.suptitle(one_line(options.title), x=0.01, ha="left", fontsize=8)
    grid = figure.subplots(rows, columns, squeeze=False, **subplots)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def log_scale(axes: Axes, values: Sequence[float] | pd.Series[float]) -> None:
    """Make the horizontal axis logarithmic, with plainly written ticks, if the values span a factor of more than 4."""
    low, high = min(values), max(values)
    if low <= 0 or high <= 4 * low:
        return
    axes.set_xscale("log")
    subs = (1, 2, 5) if high < 40 * low else (1, 3) if high < 300 * low else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(plain_numbers)
    axes.xaxis.set_minor_locator(NullLocator())


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
    # The figure's title would overlap the legend, so it becomes the legend's.
    title = figure.get_suptitle()
    figure.suptitle("")
    for fewer in range(min(columns, len(handles)), 0, -1):
        placed = figure.legend(
            handles, ["."] * len(labels), loc="outside upper left", ncols=fewer, title=title, alignment="left"
        )
        for text, label in zip(placed.get_texts(), labels, strict=True):
            text.set_text(name(label))
        if fewer == 1 or placed.get_window_extent().width <= figure.bbox.width:
            figure.set_figheight(figure.get_figheight() + LEGEND_LINE_IN * (-(-len(handles) // fewer) - lines))
            return
        placed.remove()


def mark(figure: Figure, options: Options, text: str) -> None:
    """Write the origin of the scores below the figure, unless the user wants no footer."""
    if options.has_footer:
        lines = textwrap.wrap(one_line(text), round(MARK_LETTERS_AN_INCH * figure.get_figwidth()))
        figure.supxlabel("\n".join(lines), x=0.995, ha="right", color="#606060")


def stamp(figure: Figure, text: str) -> None:
    """Write a warning across the figure, over all panels."""
    size = 72 * figure.get_figwidth() / len(text)
    stamped = figure.text(
        0.5, 0.5, text, ha="center", va="center", fontsize=size, color="#C00000", alpha=0.45, zorder=10
    )
    stamped.set_in_layout(False)
