"""Draw plots and read what they show."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from bench.report.plots.canvas import WIDTHS_IN, style
from bench.report.plots.sources import Source, read_sources
from bench.report.plots.writing import Plot


def drawn(plot: Plot, width: str = "column") -> Figure:
    with style():
        figure = plot.draw(plot.data, WIDTHS_IN[width])
        figure.draw_without_rendering()
    return figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def sources(*folders: Path) -> list[Source]:
    return read_sources(folders)
