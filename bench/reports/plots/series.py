"""How methods and curves look: a method has the same colour and marker in every figure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bench import registry
from bench.leaderboard.published import PUBLISHED

LineStyle = Literal["-", "--", "-.", ":"]

COLORS = ("#084F98", "#C8391A", "#F7C433", "#1B9C93", "#6CBE4E", "#602436", "#14213D", "#CDEFFC")
"""In even steps of lightness, and different for colour-blind readers as well. The most different colours
come first.
"""
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "h")
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++")
LINE_STYLES: tuple[LineStyle, ...] = ("-", "--", "-.", ":")

TEACHER_COLOR = "black"
TEACHER_MARKER = "*"
QUIET_COLOR = "#8a8a8a"
"""Colour of references: outlines, fronts, marks."""
UNCOMPRESSED = "none"
"""The method of models that are not compressed."""


@dataclass(frozen=True)
class Look:
    """The look of one method or curve."""

    color: str
    marker: str
    hatch: str
    line_style: LineStyle


def look(index: int) -> Look:
    """Return the look of a series; looks repeat after 56 series."""
    return Look(
        color=COLORS[index % len(COLORS)],
        marker=MARKERS[index % len(MARKERS)],
        hatch=HATCHES[index % len(HATCHES)],
        line_style=LINE_STYLES[index % len(LINE_STYLES)],
    )


def looks_of(methods: Iterable[str]) -> dict[str, Look]:
    """Choose the looks of methods. An installed one always has the same; others, such as stacks, follow by name."""
    installed = registry.names("bench.compressors")
    others = sorted(set(methods) - {*installed, PUBLISHED, UNCOMPRESSED})
    found = {name: look(index) for index, name in enumerate((*installed, *others))}
    return {**found, **dict.fromkeys((PUBLISHED, UNCOMPRESSED), Look(QUIET_COLOR, "o", "", ":"))}
