"""The formats of reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import pandas as pd

from bench.files.atomic import write_atomically
from bench.files.csv_text import csv_text
from bench.leaderboard.comparable import Board
from bench.leaderboard.tidy import IDENTITY
from bench.reports.tables import latex, markdown
from bench.reports.tables.leaderboards import Group

Writer = Callable[[Sequence[Group]], str]


def report_csv(groups: Sequence[Group]) -> str:
    """Write all rows with all figures in full precision; rows with the same ``ranking`` may be ranked."""
    table = pd.concat([group.table.dropna(axis=1, how="all") for group in groups], ignore_index=True)
    first = ["source", "ranking", "split", *IDENTITY]
    return csv_text(table[[*(name for name in first if name in table), *(name for name in table if name not in first)]])


FORMATS: Mapping[str, tuple[str, Writer]] = {
    "csv": ("report.csv", report_csv),
    "md": ("report.md", markdown.markdown),
    "latex": ("report.tex", latex.document),
}
"""Name to file and writer, for the formats that need only groups."""

PAGE = "report.html"


def write_report(
    groups: Sequence[Group],
    boards: Sequence[Board],
    formats: Sequence[str],
    folder: Path,
    split: str = "test",
    command: str = "",
    layout: latex.Layout | None = None,
) -> list[Path]:
    """Write a report in each format.

    Args:
        groups: of rows that may be ranked together.
        boards: the runs behind them, which the page shows in detail.
        formats: some of `FORMATS`, or ``html``.
        folder: of the files.
        split: of the scores.
        command: the command that writes the report, which the page names with the date.
        layout: of LaTeX.

    Returns:
        The files.
    """
    paths = []
    for name in formats:
        file, writer = (PAGE, page_writer(boards, split, command)) if name == "html" else FORMATS[name]
        if name == "latex":
            writer = partial(latex.document, layout=layout)
        write_atomically(folder / file, writer(groups))
        paths.append(folder / file)
    return paths


def page_writer(boards: Sequence[Board], split: str, command: str = "") -> Writer:
    """Return the writer of the page for these runs."""
    # A local import, because this loads plotly and matplotlib.
    from bench.reports.page.writing import Origin, report_page

    date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    return partial(report_page, boards=boards, split=split, origin=Origin(command, date) if command else None)
