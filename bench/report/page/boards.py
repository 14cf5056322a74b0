"""The leaderboard as the page's script reads it: figures of every row, and the Pareto front of every pair of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.report.columns import MACS, MACS_SUPERB, PARAMS, RTF, Column
from bench.report.plots.pareto import pareto_front
from bench.report.tables import Group

COSTS = frozenset(column.key for column in (PARAMS, MACS, MACS_SUPERB, RTF))


def board_data(group: Group) -> dict[str, Any]:
    """Turn a group of rows into plain values.

    Returns:
        ``rows`` with the figures as shown (None where there is none), ``costs`` and ``scores``, the columns that can be
        drawn against each other, and ``fronts``: ``<cost> <score>`` to the positions of the rows that no other one
        beats, cheapest first.
    """
    costs = [column for column in group.columns if column.key in COSTS]
    scores = [column for column in group.columns if column.higher_is_better is not None and column.key not in COSTS]
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
        # The last ones are over all tasks, and what is looked at first.
        "scores": [_axis(column) for column in reversed(scores)],
        "fronts": {
            f"{cost.key} {score.key}": _front(figures[cost.key], figures[score.key], score)
            for cost in costs
            for score in scores
        },
    }


def _names(group: Group) -> list[str]:
    return [str(row["model"]) for row in group.rows()]


def _values(table: pd.DataFrame, key: str, scale: float) -> list[float | None]:
    if key not in table:
        return [None] * len(table)
    return [None if pd.isna(value) else float(value) / scale for value in table[key]]


def _axis(column: Column) -> dict[str, Any]:
    unit = f" ({column.unit})" if column.unit else ""
    return {
        "key": column.key,
        "title": f"{column.title}{unit}",
        "decimals": column.decimals,
        "higher_is_better": column.higher_is_better,
    }


def _front(costs: Sequence[float | None], scores: Sequence[float | None], score: Column) -> list[int]:
    known = [
        (position, cost, gain)
        for position, (cost, gain) in enumerate(zip(costs, scores, strict=True))
        # Filter banks have no parameters: no compression gets there.
        if cost is not None and gain is not None and cost > 0
    ]
    if not known:
        return []
    positions, known_costs, known_scores = (np.array(values) for values in zip(*known, strict=True))
    on_front = pareto_front(known_costs, known_scores, higher_is_better=bool(score.higher_is_better))
    order = np.argsort(known_costs, kind="stable")
    return [int(positions[index]) for index in order if on_front[index]]
