"""A figure on disk: PDF, PNG, and the data it shows as CSV."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from bench.errors import UserError
from bench.files.atomic import replacing, write_atomically
from bench.files.csv_text import csv_text
from bench.leaderboard.collate import MEANINGLESS, NOTE, SMOKE
from bench.reports.plots.canvas import Options, stamp, style

FORMATS = ("pdf", "png")
LONGEST_FILE_NAME = 100


class NothingToDrawError(UserError):
    """The runs hold nothing that a kind of figure shows."""


@dataclass(frozen=True)
class Plot:
    """One figure, not yet drawn."""

    name: str
    """Name of its files, without suffix."""
    data: pd.DataFrame
    """Exactly the data that it shows."""
    draw: Callable[[pd.DataFrame, Options], Figure]
    """Draws the data as the user wants it."""


def write_plot(plot: Plot, out: Path, options: Options) -> dict[str, Path]:
    """Draw a figure and write it. Scores of the preset ``smoke`` get a stamp that they are meaningless.

    Args:
        plot: the figure.
        out: folder, created if missing.
        options: how the figure is to look.

    Returns:
        Suffix (``pdf``, ``png``, ``csv``) to file.
    """
    stem = file_name(plot.name)
    paths = {suffix: out / f"{stem}.{suffix}" for suffix in (*FORMATS, "csv")}
    is_smoke = "preset" in plot.data and bool((plot.data["preset"] == SMOKE).any())
    warning = f"preset {SMOKE}: {MEANINGLESS}" if is_smoke else None
    with style(options.font):
        figure = plot.draw(plot.data, options)
        if warning is not None:
            stamp(figure, warning)
        for suffix in FORMATS:
            with replacing(paths[suffix]) as temporary:
                # No date, so that the same records give the same file.
                figure.savefig(temporary, format=suffix, metadata={"CreationDate": None} if suffix == "pdf" else None)
    write_atomically(paths["csv"], csv_text(plot.data if warning is None else plot.data.assign(**{NOTE: warning})))
    return paths


def file_name(text: str) -> str:
    """Turn any name into a file name that file systems accept."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:LONGEST_FILE_NAME].strip("-.") or "plot"
