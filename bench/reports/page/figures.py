"""The page's figures, as plotly reads them: plain values for its ``newPlot``.

They are dictionaries, because plotly's own classes take some 30 ms per figure to check themselves. A test does that
once. Names are escaped, because plotly reads text as a kind of HTML. Colours that depend on light or dark are in
``page.css``.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import ceil, floor, log10
from typing import Any

import pandas as pd

from bench.leaderboard.titles import OVERALL_TITLES
from bench.reports.names import renamed
from bench.reports.plots.architecture import changed_parts
from bench.reports.plots.fronts import Cost, front_corners, method_lines, with_fronts
from bench.reports.plots.series import QUIET_COLOR, UNCOMPRESSED, Look
from bench.reports.tables.columns import MACS, MACS_SUPERB, PARAMS, RTF, SIZE, Column
from bench.reports.tables.leaderboards import Group
from bench.text import printable

COSTS = frozenset(column.key for column in (PARAMS, SIZE, MACS, MACS_SUPERB, RTF))
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "^": "triangle-up",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "<": "triangle-left",
    ">": "triangle-right",
    "p": "pentagon",
    "h": "hexagon",
}
"""Marker of a figure for papers to plotly's."""
MOST_ON_LINEAR_AXIS = 4
"""If the costs differ by a larger factor, their axis is logarithmic."""
LAYOUT = {
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"family": "system-ui, DejaVu Sans, sans-serif"},
    "hoverlabel": {"align": "left"},
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
}


def axes_of(group: Group) -> tuple[list[Column], list[Column]]:
    """List the costs and the scores that the page can plot against each other; the first of each are shown first.

    Scores over many tasks come before scores of one task; among them, those that most rows have come first.
    """
    shown = set(zip(group.scores["task"], group.scores["metric"], strict=True))
    costs = [column for column in group.columns if column.key in COSTS and (group.scores[column.key] > 0).any()]
    scores = [column for column in group.columns if column.higher_is_better is not None and _score_of(column) in shown]
    overall = [column for column in reversed(scores) if column.key in OVERALL_TITLES]
    overall.sort(key=lambda column: int(group.table[column.key].isna().sum()))
    return costs, [*overall, *(column for column in scores if column not in overall)]


def pareto_figures(group: Group, looks: Mapping[str, Look]) -> dict[str, dict[str, Any]]:
    """Draw every score against every cost: ``<cost> <score>``, by the keys of their columns, to the figure."""
    costs, scores = axes_of(group)
    return {f"{cost.key} {score.key}": _pareto(group, cost, score, looks) for cost in costs for score in scores}


def architecture_figure(layers: pd.DataFrame, look: Look) -> dict[str, Any]:
    """Draw what compression left of each layer.

    Args:
        layers: from `bench.reports.plots.architecture.kept_units_table`.
        look: of the model's method.
    """
    parts: dict[str, list[Any]] = {part: [] for part in changed_parts(layers)}
    for layer in layers.itertuples():
        parts.get(str(layer.part), []).append(layer)
    layout: dict[str, Any] = {**LAYOUT, "barmode": "overlay", "margin": {"l": 45, "r": 10, "t": 40, "b": 45}}
    layout["grid"] = {"rows": len(parts), "columns": 1, "pattern": "independent", "ygap": 0.5}
    layout["height"] = 60 + 190 * len(parts)
    traces = []
    for index, (part, rows) in enumerate(parts.items()):
        suffix = str(index + 1) if index else ""
        layout[f"xaxis{suffix}"] = {
            "title": {"text": f"{_plain(part)}, by layer"},
            "dtick": 1 if len(rows) <= 12 else 4,
        }
        layout[f"yaxis{suffix}"] = {"rangemode": "tozero", "zeroline": False}
        common = {
            "type": "bar",
            "x": [row.layer for row in rows],
            "xaxis": f"x{suffix}",
            "yaxis": f"y{suffix}",
            "showlegend": index == 0,
            "hovertemplate": "%{text}<extra></extra>",
            "textposition": "none",
        }
        outline = {"color": "rgba(0,0,0,0)", "line": {"color": QUIET_COLOR, "width": 1.5}}
        for name, marker in (("teacher", outline), ("kept", {"color": look.color})):
            texts = [_layer_text(name, row.layer, getattr(row, name), getattr(row, f"{name}_heads")) for row in rows]
            values = [None if pd.isna(value) else int(value) for value in (getattr(row, name) for row in rows)]
            traces.append({**common, "name": name, "y": values, "text": texts, "marker": marker})
    return {"data": traces, "layout": layout}


def _pareto(group: Group, cost_column: Column, score: Column, looks: Mapping[str, Look]) -> dict[str, Any]:
    cost = Cost(cost_column.key, cost_column.key, cost_column.title_with_unit, cost_column.scale)
    task, metric = _score_of(score)
    scores = group.scores
    # Filter banks have no parameters, and no compression can reach that.
    points = with_fronts(scores[(scores["task"] == task) & (scores["metric"] == metric)], cost)
    values = points[cost.column] / cost.unit
    is_log = values.max() > MOST_ON_LINEAR_AXIS * values.min()
    arrow = "↑" if score.higher_is_better else "↓"
    layout = {
        **LAYOUT,
        "margin": {"l": 60, "r": 15, "t": 50, "b": 50},
        "xaxis": {
            "title": {"text": _plain(cost.label)},
            "zeroline": False,
            **(_log_axis(values) if is_log else {"rangemode": "tozero"}),
        },
        "yaxis": {"title": {"text": f"{_plain(score.title_with_unit)} {arrow}"}, "zeroline": False},
    }
    return {"data": [*_lines(points, cost, looks), *_points(group, points, cost, score, looks)], "layout": layout}


def _log_axis(values: pd.Series[float]) -> dict[str, Any]:
    """Return a logarithmic axis with plainly written ticks: 1, 2 and 5, or powers of ten if there are many."""
    decades = range(floor(log10(values.min())), ceil(log10(values.max())) + 1)
    ticks = [factor * 10.0**power for power in decades for factor in ((1, 2, 5) if len(decades) < 4 else (1,))]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _lines(points: pd.DataFrame, cost: Cost, looks: Mapping[str, Look]) -> list[dict[str, Any]]:
    """Draw the fronts, one for each machine or scale, and the line through the sizes of each method."""
    line: dict[str, Any] = {"type": "scatter", "mode": "lines", "hoverinfo": "skip"}
    fronts = dict(list(points.groupby(_scale(points, cost), sort=False)))
    found = []
    for scale, rows in fronts.items():
        corners = front_corners(rows, cost)
        name = f"Pareto front ({_plain(scale)})" if len(fronts) > 1 else "Pareto front"
        style = {"color": QUIET_COLOR, "dash": "dot", "width": 2}
        found.append({**line, "name": name, "x": [x for x, _ in corners], "y": [y for _, y in corners], "line": style})
    for method, rows in method_lines(points, cost):
        x, y = (rows[cost.column] / cost.unit).tolist(), rows["score"].tolist()
        style = {"color": looks[method].color, "width": 1.5}
        found.append({**line, "name": _plain(method), "showlegend": False, "x": x, "y": y, "line": style})
    return found


def _points(
    group: Group, points: pd.DataFrame, cost: Cost, score: Column, looks: Mapping[str, Look]
) -> list[dict[str, Any]]:
    row_of = {key: position for position, key in enumerate(group.row_keys())}
    traces = []
    for method, rows in points.groupby("compressor", sort=True):
        look, is_published = looks[str(method)], bool(rows["is_published"].iloc[0])
        spreads = [None if pd.isna(spread) else spread for spread in rows["score_std"]]
        said = ["" if one is None else f" ± {one:.{score.decimals}f}" for one in spreads]
        positions = [row_of.get(key) for key in zip(rows["run"], rows["model"], strict=True)]
        marker = {
            "size": 10,
            "color": look.color,
            "symbol": SYMBOLS[look.marker] + ("-open" if is_published else ""),
            "opacity": [1 if on_front else 0.5 for on_front in rows["on_front"]],
        }
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "not compressed" if method == UNCOMPRESSED else _plain(renamed(str(method), group.names)),
                "x": (rows[cost.column] / cost.unit).tolist(),
                "y": rows["score"].tolist(),
                "error_y": {"array": spreads, "visible": any(map(bool, spreads)), "thickness": 1},
                "customdata": list(zip(positions, said, strict=True)),
                "text": [_plain(renamed(label, group.names)) for label in rows["label"]],
                "hovertemplate": (
                    f"<b>%{{text}}</b><br>{_plain(score.title)}: %{{y:.{score.decimals}f}}%{{customdata[1]}}<br>"
                    f"{_plain(cost.label)}: %{{x:.4~g}}"
                ),
                "cliponaxis": False,
                "marker": marker,
                "unselected": {"marker": {"opacity": 0}},
            }
        )
    return traces


def _score_of(column: Column) -> tuple[str, str]:
    """Return the task and the metric of a column; no task for a score over many tasks."""
    return column.task, column.key.removeprefix(f"{column.task}_")


def _scale(points: pd.DataFrame, cost: Cost) -> pd.Series[str]:
    machine = points["measured_on"].fillna("") if cost.column == RTF.key else ""
    has_scales = points["relative_scale"].nunique() > 1
    runs = points.groupby("relative_scale")["run"].transform(lambda runs: ", ".join(dict.fromkeys(runs)))
    names = (machine + "; " if cost.column == RTF.key else "") + (runs if has_scales else pd.Series("", points.index))
    return names.str.removesuffix("; ")


def _layer_text(name: str, layer: int, kept: Any, heads: str) -> str:
    # Counted from 1, as layers are.
    listed = f"<br>heads {' '.join(_head(head) for head in heads.split())}" if heads else ""
    return f"layer {layer}, {name}: {'?' if pd.isna(kept) else kept}{listed}"


def _head(head: str) -> str:
    return str(int(head) + 1)


def _plain(text: Any) -> str:
    return escape(printable(str(text)), quote=False)
