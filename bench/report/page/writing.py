"""Renders the page: one self-contained file that a browser opens from disk."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from bench.leaderboard.collate import SMOKE
from bench.leaderboard.comparable import Board
from bench.leaderboard.notes import SMOKE_NOTE
from bench.report.page.boards import board_data
from bench.report.page.details import SharedValues, model_details
from bench.report.tables.columns import Column
from bench.report.tables.leaderboards import Cell, Group
from bench.text import printable

TEMPLATES = "templates"
SCRIPTS = ("leaderboard.js", "pareto.js", "model.js", "start.js")


def report_page(groups: Sequence[Group], boards: Sequence[Board], split: str = "test") -> str:
    """Render the page with everything known about the runs' models.

    Args:
        groups: of rows that may be ranked together.
        boards: the runs behind them.
        split: the split of the scores, also used to compare utterances with the teacher's.

    Raises:
        UserError: a run or a model's folder is damaged.
    """
    shared = SharedValues()
    details = {board.name: model_details(board, split, shared) for board in boards}
    return page_html(groups, details, shared.values)


def page_html(groups: Sequence[Group], details: Mapping[str, Mapping[str, Any]], shared: Sequence[Any] = ()) -> str:
    """Render the page.

    The page loads nothing from elsewhere. Its content security policy allows only the page's own scripts, whatever
    names and texts the results contain.

    Args:
        groups: of rows that may be ranked together.
        details: run to row to the result of `bench.report.page.details.model_details`.
        shared: values that the details refer to by position.
    """
    templates = Environment(
        loader=PackageLoader(__package__, TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own = "\n".join(_source(name) for name in SCRIPTS)
    scripts = [Markup(text) for text in (get_plotlyjs(), f'"use strict";\n{own}')]
    boards = [board_data(group) for group in groups]
    links = [_links(group, details) for group in groups]
    return templates.get_template("page.html").render(
        boards=[
            {"data": data, "group": group, "rows": _cells(group), "links": linked, "warning": _warning(group)}
            for data, group, linked in zip(boards, groups, links, strict=True)
        ],
        data={"boards": boards, "links": links, "details": details, "shared": shared},
        style=Markup(_source("page.css")),
        scripts=scripts,
        script_hashes=[_hash(script) for script in scripts],
    )


def _finalized(value: Any) -> Any:
    """Escape control characters of plain text, which HTML does not allow; the page's own markup is left unchanged."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _source(name: str) -> str:
    return files(__package__).joinpath(TEMPLATES, name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _warning(group: Group) -> str:
    return SMOKE_NOTE if (group.table["preset"] == SMOKE).any() else ""


def _links(group: Group, details: Mapping[str, Mapping[str, Any]]) -> list[list[str] | None]:
    """Return the run and model under which each row's details are stored; None for published rows."""
    found: list[list[str] | None] = []
    for source, model in zip(group.table["source"], group.table["model"], strict=True):
        own = str(model).removesuffix(f" ({source})")
        found.append([str(source), own] if own in details.get(str(source), {}) else None)
    return found


def _cells(group: Group) -> list[list[dict[str, Any]]]:
    best = {column.key: group.best(column) for column in group.columns}
    return [
        [_cell(row[column.key], column, position in best[column.key]) for column in group.columns]
        for position, row in enumerate(group.rows())
    ]


def _cell(value: Cell, column: Column, is_best: bool) -> dict[str, Any]:
    if value is None or isinstance(value, str):
        sort = value or "" if column.is_text else ""
        return {"text": value or "", "sort": sort, "spread": "", "is_best": False}
    spread = "" if value.std is None else f"± {value.std:.{column.decimals}f}"
    return {"text": value.mean_text(column), "sort": repr(value.mean), "spread": spread, "is_best": is_best}
