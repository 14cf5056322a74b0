"""Draw plots and read what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from bench.reports.plots.canvas import WIDTHS_IN, Options, style
from bench.reports.plots.series import looks_of
from bench.reports.plots.sources import Source, read_sources
from bench.reports.plots.writing import Plot


def options(plot: Plot, width: str = "column", **chosen: Any) -> Options:
    methods = plot.data["compressor"].map(str) if "compressor" in plot.data else []
    return Options(WIDTHS_IN[width], looks=looks_of(methods), **chosen)


def drawn(plot: Plot, width: str = "column", **chosen: Any) -> Figure:
    with style():
        figure = plot.draw(plot.data, options(plot, width, **chosen))
        figure.draw_without_rendering()
    return figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def sources(*folders: Path) -> list[Source]:
    return read_sources(folders)
