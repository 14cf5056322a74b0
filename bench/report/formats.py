"""The formats of reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.files import write_atomically
from bench.report import latex, markdown
from bench.report.tables import Group
from bench.store.csv_text import csv_text
from bench.store.leaderboard import IDENTITY

Writer = Callable[[Sequence[Group]], str]


def report_csv(groups: Sequence[Group]) -> str:
    """Write all rows with all figures in full precision; ``data``, ``preset``, ``protocol`` say what may be ranked."""
    table = pd.concat([group.table.dropna(axis=1, how="all") for group in groups], ignore_index=True)
    first = ["source", *IDENTITY]
    return csv_text(table[[*(name for name in first if name in table), *(name for name in table if name not in first)]])


FORMATS: Mapping[str, tuple[str, Writer]] = {
    "csv": ("report.csv", report_csv),
    "md": ("report.md", markdown.markdown),
    "latex": ("report.tex", latex.document),
}
"""Name to file and writer."""


def write_report(groups: Sequence[Group], formats: Sequence[str], folder: Path) -> list[Path]:
    """Write a report in each format; return the files."""
    paths = []
    for name in formats:
        file, writer = FORMATS[name]
        write_atomically(folder / file, writer(groups))
        paths.append(folder / file)
    return paths
