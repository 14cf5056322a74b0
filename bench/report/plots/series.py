"""How series differ in figures: by lightness and marker, so that readers need no colour vision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LineStyle = Literal["-", "--", "-.", ":"]

COLORS = ("#0067A8", "#F2B134", "#12263F", "#DE6A1F", "#BDE3FA")
"""After Okabe and Ito's palette for colour-blind readers, moved to even steps of lightness. The most different colours
come first.
"""
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "h", "d")
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----")
LINE_STYLES: tuple[LineStyle, ...] = ("-", "--", "-.", ":")

TEACHER_COLOR = "black"
TEACHER_MARKER = "*"
QUIET_COLOR = "#8a8a8a"
"""Colour of references: outlines, fronts, marks."""


@dataclass(frozen=True)
class Series:
    """The look of one series."""

    color: str
    marker: str
    hatch: str
    line_style: LineStyle


def series(index: int) -> Series:
    """Return the look of a series; bars repeat after 30, markers in a colour after 60, lines after 20."""
    return Series(
        color=COLORS[index % len(COLORS)],
        marker=MARKERS[index % len(MARKERS)],
        hatch=HATCHES[index % len(HATCHES)],
        line_style=LINE_STYLES[index % len(LINE_STYLES)],
    )
