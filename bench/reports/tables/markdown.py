"""Reports as Markdown, with tables in GitHub's syntax."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.reports.tables.columns import Column
from bench.reports.tables.leaderboards import BEST, SECOND, Cell, Figure, Group, Mark, text
from bench.text import printable

_SPECIAL = re.compile(r"([\\`*_\[\]<>|&~$!@:#])")
_BLOCK_START = re.compile(r"^(\d*)([-+=.)])")
"""Line starts that Markdown would read as a list, a rule or a heading."""

_MARKS = {BEST: ("**", "**"), SECOND: ("<ins>", "</ins>")}
"""GitHub underlines ``ins``."""


def markdown(groups: Sequence[Group]) -> str:
    """Write groups as tables below their headings. Of each size, the best is bold and the second best underlined."""
    return "\n".join(_section(group) for group in groups)


def escaped(plain: str) -> str:
    """Escape text so that it prints literally: no markup, HTML or links, on one line."""
    return _SPECIAL.sub(r"\\\1", printable(" ".join(plain.split())))


def _paragraph(plain: str) -> str:
    return _BLOCK_START.sub(r"\1\\\2", escaped(plain))


def _section(group: Group) -> str:
    columns = group.columns
    lines = [
        f"## {escaped(group.heading)}",
        "",
        _line([escaped(column.heading) for column in columns]),
        _line(["---" if column.is_text else "---:" for column in columns]),
    ]
    for position, row in enumerate(group.rows()):
        lines.append(_line([_cell(row[one.key], one, group.marks.get((position, one.key))) for one in columns]))
    if group.notes:
        lines += ["", *(f"- {_paragraph(note)}" for note in group.notes)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell, column: Column, mark: Mark | None) -> str:
    if mark is None or not isinstance(cell, Figure):
        return escaped(text(cell, column))
    begin, end = _MARKS[mark]
    spread = _SPECIAL.sub(r"\\\1", cell.spread_text(column))
    return f"{begin}{cell.mean_text(column)}{end}{spread}"
