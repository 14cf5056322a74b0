"""Renders the page: one self-contained file that a browser opens from disk."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from bench.comparison.changes import Changes
from bench.leaderboard.collate import SMOKE
from bench.leaderboard.comparable import Board
from bench.leaderboard.notes import SMOKE_NOTE
from bench.leaderboard.published import COMPRESSED_ELSEWHERE
from bench.leaderboard.titles import in_order, score_title, task_title
from bench.reports.names import renamed
from bench.reports.page.details import MAX_UTTERANCES, ModelDetails, SharedValues, as_json, model_details
from bench.reports.page.figures import COSTS, axes_of, pareto_figures
from bench.reports.plots.series import Look, looks_of
from bench.reports.tables.columns import PARAMS, SPARSITY, Column
from bench.reports.tables.leaderboards import Cell, Group
from bench.text import printable

TEMPLATES = "templates"
DETAILS = frozenset({SPARSITY.key, *COSTS} - {PARAMS.key})
"""Columns that a narrow screen leaves out, because the scores come first there."""


class Origin(NamedTuple):
    """Where a page comes from."""

    command: str = ""
    date: str = ""


class Appendix(NamedTuple):
    """What the details of models refer to."""

    configurations: Mapping[str, str]
    """Run to its configuration, as JSON."""
    recipes: Sequence[str]
    """Arguments of recipes, as JSON; records hold their numbers, from 1."""


def report_page(
    groups: Sequence[Group], boards: Sequence[Board], split: str = "test", origin: Origin | None = None
) -> str:
    """Render the page with everything known about the runs' models.

    Args:
        groups: of rows that may be ranked together.
        boards: the runs behind them.
        split: the split of the scores, also used to compare utterances with the teacher's.
        origin: the command that writes the page, and the date.

    Raises:
        UserError: a run or a model's folder is damaged.
    """
    recipes = SharedValues()
    looks = _looks(groups)
    details = {board.name: model_details(board, split, recipes, looks) for board in boards}
    appendix = Appendix({board.name: as_json(board.config) for board in boards}, list(recipes.places))
    return page_html(groups, details, appendix, origin)


def page_html(
    groups: Sequence[Group],
    details: Mapping[str, Mapping[str, ModelDetails]],
    appendix: Appendix | None = None,
    origin: Origin | None = None,
) -> str:
    """Render the page.

    The page loads nothing from elsewhere. Its content security policy allows only the page's own scripts, whatever
    names and texts the results contain.

    Args:
        groups: of rows that may be ranked together.
        details: run to row to its details.
        appendix: what the details refer to.
        origin: the command that writes the page, and the date.
    """
    templates = Environment(
        loader=PackageLoader(__package__, TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["signed"] = lambda value: f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
    looks = _looks(groups)
    scripts = [Markup(text) for text in (get_plotlyjs(), _source("page.js"))]
    models = {(run, model): one for run, found in details.items() for model, one in found.items()}
    number_of = {key: number for number, key in enumerate(models)}
    names = {old: new for group in groups for old, new in group.names.items()}
    return templates.get_template("page.html").render(
        origin=origin or Origin(),
        appendix=appendix or Appendix({}, ()),
        boards=[_board(group, number_of) for group in groups],
        models=[(renamed(model, names), one) for (_, model), one in models.items()],
        choices=_choices(groups),
        figures={
            "pareto": [pareto_figures(group, looks) for group in groups],
            "architecture": [list(one.figures.values()) for one in models.values()],
        },
        title=score_title,
        is_changes=lambda value: isinstance(value, Changes),
        max_utterances=MAX_UTTERANCES,
        style=Markup(_source("page.css")),
        scripts=scripts,
        script_hashes=[_hash(script) for script in scripts],
    )


def _looks(groups: Sequence[Group]) -> dict[str, Look]:
    return looks_of(str(method) for group in groups for method in group.scores["compressor"])


def _board(group: Group, number_of: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    costs, scores = axes_of(group)
    kinds = zip(group.row_keys(), group.is_published, group.table["compressor"], _sizes(group), strict=True)
    return {
        "group": group,
        "warning": SMOKE_NOTE if (group.table["preset"] == SMOKE).any() else "",
        "costs": costs,
        "details": DETAILS,
        "scores": scores,
        "rows": [
            {
                "cells": [_cell(row[one.key], one, group.marks.get((position, one.key), "")) for one in group.columns],
                "number": number_of.get(key),
                "is_published": is_published,
                "method": "" if pd.isna(method) else str(method),
                "size": size,
                "is_smaller": position > 0 and group.sizes[position] > group.sizes[position - 1],
            }
            for position, (row, (key, is_published, method, size)) in enumerate(zip(group.rows(), kinds, strict=True))
        ],
    }


def _sizes(group: Group) -> list[str]:
    """Name the size of every row: the share of the teacher that compression was to remove."""
    none = pd.Series(float("nan"), index=group.table.index)
    shares = group.table.get("target_sparsity", none)
    return ["" if pd.isna(share) else f"{100 * float(share):g} % removed" for share in shares]


def _choices(groups: Sequence[Group]) -> dict[str, list[tuple[str, str]]]:
    """List what rows and columns can be filtered by: values and their names."""
    methods = {str(method) for group in groups for method in group.table["compressor"].dropna()}
    names = {"none": "not compressed", COMPRESSED_ELSEWHERE: "compressed, published"}
    names |= {method: renamed(method, group.names) for group in groups for method in methods - names.keys()}
    sizes = {size for group in groups for size in _sizes(group) if size}
    tasks = in_order(column.task for group in groups for column in group.columns if column.task)
    return {
        "method": [(method, names[method]) for method in sorted(methods)],
        "size": [(size, size) for size in sorted(sizes, key=lambda size: float(size.split()[0]))],
        "task": [(task, task_title(task)) for task in tasks],
    }


def _finalized(value: Any) -> Any:
    """Escape control characters of plain text, which HTML does not allow; the page's own markup is left unchanged."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _source(name: str) -> str:
    return files(__package__).joinpath(TEMPLATES, name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _cell(value: Cell, column: Column, mark: str) -> dict[str, Any]:
    if value is None or isinstance(value, str):
        sort = value or "" if column.is_text else ""
        return {"text": value or "", "sort": sort, "spread": "", "mark": ""}
    spread = value.spread_text(column).strip()
    return {"text": value.mean_text(column), "sort": repr(value.mean), "spread": spread, "mark": mark}
