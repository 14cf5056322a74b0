r"""Reports as LaTeX: booktabs rules, siunitx columns, a complete document that compiles.

The tables need the packages of `PREAMBLE`, which every TeX distribution since 2021 has (siunitx 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.reports.tables.columns import Column
from bench.reports.tables.leaderboards import Cell, Figure, Group

PREAMBLE = r"""\usepackage[utf8]{inputenc}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage{etoolbox}
\usepackage{siunitx}
\sisetup{detect-weight=true, separate-uncertainty=true, table-align-uncertainty=false, retain-zero-uncertainty=true}
\robustify\bfseries
"""

ROWS_OF_A_PAGE = 45
"""Rows per table; longer tables are split."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # No ligatures (-- is a dash, ?` a letter), and nothing that the end of the previous row would read as its option.
    **{character: f"{{{character}}}" for character in "-`'\"[]*"},
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_ARROWS = {True: r" $\uparrow$", False: r" $\downarrow$", None: ""}
_ACCENTED = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")
"""Characters beyond ASCII that every TeX font has."""


def document(groups: Sequence[Group]) -> str:
    """Write a complete document: one landscape page per group."""
    pages = "\n\\clearpage\n".join(table(group) for group in groups)
    return (
        "\\documentclass[a4paper]{article}\n"
        "\\usepackage[landscape, margin=1.5cm]{geometry}\n"
        f"{PREAMBLE}\\begin{{document}}\n{pages}\\end{{document}}\n"
    )


def table(group: Group) -> str:
    r"""Write one group as a ``table`` no larger than the page, or as several if it has many rows.

    The best of the compressed rows is in bold. It is no ``longtable``, because two-column papers do not allow one and
    it cannot be scaled.
    """
    best = {column.key: group.best(column) for column in group.columns}
    rows = group.rows()
    cells = pd.DataFrame(
        [
            [_cell(row[column.key], column, is_best=position in best[column.key]) for column in group.columns]
            for position, row in enumerate(rows)
        ],
        columns=[_title(column) for column in group.columns],
    )
    formats = "".join(_format(column, [row[column.key] for row in rows]) for column in group.columns)
    num_parts = -(-len(rows) // ROWS_OF_A_PAGE)
    parts = [cells.iloc[start : start + ROWS_OF_A_PAGE] for start in range(0, len(rows), ROWS_OF_A_PAGE)]
    names = [f" (part {number} of {num_parts})" if num_parts > 1 else "" for number in range(1, num_parts + 1)]
    return "\n".join(_part(group, part, formats, name) for part, name in zip(parts, names, strict=True))


def _part(group: Group, cells: pd.DataFrame, formats: str, name: str) -> str:
    tabular = cells.style.hide(axis="index").to_latex(column_format=formats, hrules=True)
    notes = "".join(f"\n\n\\smallskip\\footnotesize {escaped(note)}" for note in group.notes)
    return (
        "\\begin{table}[htbp]\n\\centering\n"
        f"\\caption{{{escaped(group.heading)}{name}}}\n"
        "\\resizebox*{!}{\\ifdim\\totalheight>0.8\\textheight 0.8\\textheight\\else\\totalheight\\fi}{%\n"
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        f"{tabular.rstrip()}}}}}{notes}\n\\end{{table}}\n"
    )


def escaped(text: str) -> str:
    """Escape text to print literally; characters that a plain TeX font lacks become code points, as in [U+4E2D]."""
    return "".join(_SPECIAL.get(character) or _printable(character) for character in " ".join(text.split()))


def _printable(character: str) -> str:
    return character if " " <= character <= "~" or character in _ACCENTED else f"[U+{ord(character):04X}]"


def _title(column: Column) -> str:
    title = f"{escaped(column.title_with_unit)}{_ARROWS[column.higher_is_better]}"
    return title if column.is_text else f"{{{title}}}"


def _format(column: Column, cells: Sequence[Cell]) -> str:
    """Return the siunitx format that fits a column's figures, so that they align at the decimal point."""
    if column.is_text:
        return "l"
    figures = [cell for cell in cells if isinstance(cell, Figure)]
    texts = [figure.mean_text(column) for figure in figures]
    whole = max((len(text.lstrip("-").partition(".")[0]) for text in texts), default=1)
    sign = "-" if any(text.startswith("-") for text in texts) else ""
    spreads = [_uncertainty(figure, column) for figure in figures if figure.std is not None]
    spread = f"({max(map(len, spreads))})" if spreads else ""
    return f"S[table-format={sign}{whole}.{column.decimals}{spread}]"


def _cell(cell: Cell, column: Column, *, is_best: bool) -> str:
    if cell is None:
        return "" if column.is_text else "{--}"
    if not isinstance(cell, Figure):
        return escaped(cell) if column.is_text else f"{{{escaped(cell)}}}"
    spread = "" if cell.std is None else f"({_uncertainty(cell, column)})"
    weight = "\\bfseries " if is_best else ""
    return f"{weight}{cell.mean_text(column)}{spread}"


def _uncertainty(figure: Figure, column: Column) -> str:
    """Write a standard deviation as siunitx reads it: in units of the last digit."""
    return str(round((figure.std or 0.0) * 10 ** (column.decimals or 0)))
