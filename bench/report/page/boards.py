"""The leaderboard as plain values for the page's script: every row's figures, and a Pareto front per cost and score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.leaderboard.titles import OVERALL_TITLES
from bench.report.plots.pareto import pareto_front
from bench.report.tables.columns import MACS, MACS_SUPERB, PARAMS, RTF, SIZE, Column
from bench.report.tables.leaderboards import RELATIVE_SCALE, Group
from bench.store.latency import MEASURED_ON

COSTS = frozenset(column.key for column in (PARAMS, SIZE, MACS, MACS_SUPERB, RTF))

Scale = tuple[str, str]
"""Machine of a real-time factor, and scale of a relative score. Each is empty if that column is not drawn."""


def board_data(group: Group) -> dict[str, Any]:
    """Turn a group of rows into plain values.

    Returns:
        ``rows`` with the figures as shown (None where a row has none); ``costs`` and ``scores``, the columns that can
        be plotted against each other, with the default choice first; and ``fronts``, which maps ``<cost> <score>`` to
        its Pareto fronts. There is one front per set of rows on one scale. Each has a ``name`` (empty if it is the only
        one) and ``rows``, the positions of the rows on the front, cheapest first.
    """
    costs = [column for column in group.columns if column.key in COSTS]
    scores = _overall_first([column for column in group.columns if column.higher_is_better is not None], group.table)
    drawn = [*costs, *scores]
    figures = {column.key: _values(group.table, column.key, column.scale) for column in drawn}
    spreads = {column.key: _values(group.table, f"{column.key}_std", column.scale) for column in scores}
    return {
        "heading": group.heading,
        "rows": [
            {
                "model": name,
                "compressor": "" if pd.isna(compressor) else str(compressor),
                "is_published": is_published,
                "figures": {key: values[position] for key, values in figures.items()},
                "spreads": {key: values[position] for key, values in spreads.items()},
            }
            for position, (name, compressor, is_published) in enumerate(
                zip(_names(group), group.table["compressor"], group.is_published, strict=True)
            )
        ],
        "costs": [_axis(column) for column in costs],
        "scores": [_axis(column) for column in scores],
        "fronts": {
            f"{cost.key} {score.key}": _fronts(group.table, figures, cost, score) for cost in costs for score in scores
        },
    }


def _overall_first(columns: Sequence[Column], table: pd.DataFrame) -> list[Column]:
    """Put scores over many tasks before scores of one task; among them, those that most rows have come first."""
    overall = [column for column in reversed(columns) if column.key in OVERALL_TITLES]
    overall.sort(key=lambda column: int(table[column.key].isna().sum()))
    return [*overall, *(column for column in columns if column.key not in COSTS and column not in overall)]


def _names(group: Group) -> list[str]:
    return [str(row["model"]) for row in group.rows()]


def _values(table: pd.DataFrame, key: str, scale: float) -> list[float | None]:
    if key not in table:
        return [None] * len(table)
    return [None if pd.isna(value) else float(value) / scale for value in table[key]]


def _axis(column: Column) -> dict[str, Any]:
    return {
        "key": column.key,
        "title": column.title_with_unit,
        "decimals": column.decimals,
        "higher_is_better": column.higher_is_better,
    }


def _fronts(
    table: pd.DataFrame, figures: Mapping[str, Sequence[float | None]], cost: Column, score: Column
) -> list[dict[str, Any]]:
    """Find the Pareto front of all rows, or one front per scale if the rows have several machines or scales."""
    scales = _scales(table, cost, score)
    fronts = []
    for scale in dict.fromkeys(scales):
        positions = [position for position, other in enumerate(scales) if other == scale]
        rows = _front(positions, figures[cost.key], figures[score.key], score)
        if rows:
            fronts.append({"name": _scale_name(scale, table.iloc[positions]), "rows": rows})
    return fronts if len(fronts) > 1 else [{**front, "name": ""} for front in fronts]


def _scales(table: pd.DataFrame, cost: Column, score: Column) -> list[Scale]:
    """Return each row's machine and relative scale; a part is empty if its column is not drawn."""
    nothing = pd.Series("", index=table.index)
    machines = table[MEASURED_ON].fillna("") if cost == RTF and MEASURED_ON in table else nothing
    is_relative = score.key == "relative_score" and RELATIVE_SCALE in table
    relative = table[RELATIVE_SCALE].fillna("") if is_relative else nothing
    return list(zip(machines, relative, strict=True))


def _scale_name(scale: Scale, rows: pd.DataFrame) -> str:
    machine, relative = scale
    runs = ", ".join(dict.fromkeys(rows["source"])) if relative else ""
    return "; ".join(filter(None, (machine, runs)))


def _front(
    positions: Sequence[int], costs: Sequence[float | None], scores: Sequence[float | None], score: Column
) -> list[int]:
    known = [
        (position, cost, gain)
        for position in positions
        # Filter banks have no parameters, and no compression can reach that.
        if (cost := costs[position]) is not None and (gain := scores[position]) is not None and cost > 0
    ]
    if not known:
        return []
    found, known_costs, known_scores = (np.array(values) for values in zip(*known, strict=True))
    on_front = pareto_front(known_costs, known_scores, higher_is_better=bool(score.higher_is_better))
    order = np.argsort(known_costs, kind="stable")
    return [int(found[index]) for index in order if on_front[index]]
