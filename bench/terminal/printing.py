"""Prints results to standard output: tables and JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from bench.terminal.streams import write_result
from bench.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPE_WIDTH = 240
FIGURE = re.compile(r"([+-]?[\d,]+(\.\d+)?)?")
"""A number as tables print it, or an empty cell."""


def print_json(value: Any) -> None:
    """Print one JSON document."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    if not _can_be_shown(text):
        text = json.dumps(value, indent=1, allow_nan=False).replace("\x7f", r"\u007f")
    write_result(text + "\n")


def _can_be_shown(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return printable(text) == text


def print_rows(rows: Sequence[Mapping[str, Any]], title: str = "", parts: Sequence[int] = ()) -> None:
    """Print a table with one row per mapping. The first row's keys are the columns.

    Args:
        rows: the rows.
        title: above the table.
        parts: a number for each row. A line separates rows whose numbers differ.
    """
    from rich.table import Table
    from rich.text import Text

    # As `Text`, because names may contain characters that rich reads as markup.
    table = Table(title=Text(printable(title), style="table.title") if title else None)
    columns = list(rows[0]) if rows else []
    for column in columns:
        justify: Literal["left", "right"] = "right" if all(_is_figure(row.get(column)) for row in rows) else "left"
        table.add_column(Text(printable(column)), justify=justify, overflow="fold")
    ends = [one != other for one, other in pairwise(parts)] or [False] * len(rows)
    for row, is_end in zip(rows, [*ends, False], strict=False):
        cells = (Text("" if row.get(column) is None else printable(str(row[column]))) for column in columns)
        table.add_row(*cells, end_section=is_end)
    print_rendered(table)


def print_rendered(table: RenderableType) -> None:
    """Print a rich renderable. Names in it must already be `printable`."""
    from rich.console import Console

    # A file or a pipe has no width to fit.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    with console.capture() as drawn:
        console.print(table)
    write_result(drawn.get())


def _is_figure(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or FIGURE.fullmatch(str(value)) is not None
