r"""Reports as LaTeX: booktabs tables, a complete document that compiles, or the ``tabular`` alone.

Figures are text in right-aligned columns, padded by ``\phantom`` so that decimal points align. siunitx's columns cannot
underline a figure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.errors import UserError
from bench.reports.tables.columns import Column
from bench.reports.tables.leaderboards import BEST, SECOND, Cell, Figure, Group, Mark
from bench.text import shortened

PACKAGES = ("booktabs", "graphicx")
"""Packages that a table needs."""
ROWS_OF_A_PAGE = 45
"""Rows per table of a document; longer tables are split."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # In braces, because they begin ligatures such as ?` or, in some languages, are commands.
    **{character: f"{{{character}}}" for character in '`"'},
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_LIGATURE = re.compile(r"([-'])(?=\1)")
_OPTION = re.compile(r"^(?=[\[*])")
"""The end of the previous row would read these as its option."""
_ARROWS = {True: r" $\uparrow$", False: r" $\downarrow$", None: ""}
_MARKS = {BEST: r"\textbf", SECOND: r"\underline"}
_ACCENTED = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")
"""Characters beyond ASCII that every TeX font has."""


@dataclass(frozen=True)
class Layout:
    """What a paper wants."""

    caption: str = ""
    """By default the heading of the table."""
    label: str = ""
    r"""Of ``\label``; a second table's ends with -2."""
    is_fragment: bool = False
    r"""Whether to write the ``tabular`` alone, for an ``\input`` in a table of the paper's own."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9:._/+-]{0,80}", self.label):
            found = shortened(repr(self.label), 60)
            raise UserError(
                f"--label: expected a LaTeX label, such as tab:scores. Found {found}. Use letters and digits."
            )


def document(groups: Sequence[Group], layout: Layout | None = None) -> str:
    """Write a complete document, one landscape page per group, or as a fragment each group's ``tabular``."""
    layout = layout or Layout()
    packages = [f"\\usepackage{{{name}}}" for name in PACKAGES]
    if layout.is_fragment:
        return "\n".join(_fragment(group) for group in groups)
    pages = [table(group, layout, number if len(groups) > 1 else 0) for number, group in enumerate(groups, 1)]
    head = ["\\documentclass[a4paper]{article}", "\\usepackage[landscape, margin=1.5cm]{geometry}"]
    head += ["\\usepackage[utf8]{inputenc}", *packages, "\\begin{document}"]
    return "\n".join([*head, "\n\\clearpage\n".join(pages), "\\end{document}\n"])


def table(group: Group, layout: Layout | None = None, number: int = 0) -> str:
    r"""Write one group as a ``table`` no larger than the page, or as several if it has many rows.

    It is no ``longtable``, because two-column papers do not allow one and it cannot be scaled.

    Args:
        group: the rows.
        layout: caption and label.
        number: of the table, from 1; 0 if it is the only one.
    """
    layout = layout or Layout()
    caption = layout.caption or group.heading
    if layout.caption and number:
        caption += f" ({group.heading})"
    label = f"\\label{{{layout.label}{f'-{number}' if number > 1 else ''}}}\n" if layout.label else ""
    rows = range(len(group.table))
    parts = [rows[start : start + ROWS_OF_A_PAGE] for start in range(0, len(rows), ROWS_OF_A_PAGE)]
    notes = "".join(f"\n\n\\smallskip\\footnotesize {escaped(note)}" for note in group.notes)
    return "\n".join(
        "\\begin{table}[htbp]\n\\centering\n"
        f"\\caption{{{escaped(caption)}{f' (part {part} of {len(parts)})' if len(parts) > 1 else ''}}}\n"
        f"{label if part == 1 else ''}"
        "\\resizebox*{!}{\\ifdim\\totalheight>0.8\\textheight 0.8\\textheight\\else\\totalheight\\fi}{%\n"
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        f"{_tabular(group, positions)}}}}}{notes}\n\\end{{table}}\n"
        for part, positions in enumerate(parts, 1)
    )


def _fragment(group: Group) -> str:
    """Write the ``tabular``; what a reader must know stands above it, as comments."""
    notes = [f"Packages: {', '.join(PACKAGES[:1])}", group.heading, *group.notes]
    return "".join(f"% {escaped(note)}\n" for note in notes) + f"{_tabular(group, range(len(group.table)))}\n"


def _tabular(group: Group, positions: Sequence[int]) -> str:
    """Write rows with their head, and a rule between sizes."""
    columns = [(_cells(group, column), _title(column)) for column in group.columns]
    lines = [
        f"\\begin{{tabular}}{{{''.join('l' if column.is_text else 'r' for column in group.columns)}}}",
        "\\toprule",
        " & ".join(title for _, title in columns) + " \\\\",
    ]
    for _, rows in groupby(positions, key=lambda position: group.sizes[position]):
        lines += ["\\midrule", *(" & ".join(cells[row] for cells, _ in columns) + " \\\\" for row in rows)]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def escaped(text: str) -> str:
    """Escape text to print literally; characters that a plain TeX font lacks become code points, as in [U+4E2D]."""
    letters = "".join(_SPECIAL.get(character) or _printable(character) for character in " ".join(text.split()))
    return _OPTION.sub("{}", _LIGATURE.sub(r"\1{}", letters))


def _printable(character: str) -> str:
    return character if " " <= character <= "~" or character in _ACCENTED else f"[U+{ord(character):04X}]"


def _title(column: Column) -> str:
    return f"{escaped(column.title_with_unit)}{_ARROWS[column.higher_is_better]}"


def _cells(group: Group, column: Column) -> list[str]:
    """Write the cells of a column, all of one width to the right of the decimal point."""
    cells = [row[column.key] for row in group.rows()]
    spreads = [_spread(cell, column) for cell in cells if isinstance(cell, Figure)]
    widest = max(spreads, key=len, default="")
    return [_cell(cell, column, group.marks.get((row, column.key)), widest) for row, cell in enumerate(cells)]


def _cell(cell: Cell, column: Column, mark: Mark | None, widest: str) -> str:
    if not isinstance(cell, Figure):
        return escaped(cell) if cell else "" if column.is_text else "--"
    mean, spread = cell.mean_text(column), _spread(cell, column)
    _, point, decimals = mean.partition(".")
    padding = f".{'0' * (column.decimals or 0)}"[len(point + decimals) :] if column.decimals else ""
    shown = mean.replace("-", "$-$")
    parts = [f"{_MARKS[mark]}{{{shown}}}" if mark else shown, _phantom(padding)]
    if spread:
        parts.append(f" $\\pm$ {_phantom('0' * (len(widest) - len(spread)))}{spread}")
    elif widest:
        parts.append(_phantom(f" $\\pm$ {widest}"))
    # Without width, so that it does not move the figure.
    stars = f"\\rlap{{\\textsuperscript{{{cell.stars}}}}}" if cell.stars else ""
    return "".join([*parts, stars])


def _spread(figure: Figure, column: Column) -> str:
    return "" if figure.std is None else f"{figure.std:.{column.decimals}f}"


def _phantom(text: str) -> str:
    return f"\\phantom{{{text}}}" if text else ""
