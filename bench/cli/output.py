"""Formats tables of models and leaderboards for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def signed_percent(fraction: float) -> str:
    """Write a difference in percent, with its sign. Values that round to zero have no minus."""
    return f"{round(100 * fraction, 2) + 0.0:+.2f}"


def model_rows(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Format compression's results for people, in the leaderboard's units."""
    return [
        {
            "model": model["model"],
            "params (M)": f"{model['params'] / 1e6:.2f}",
            "MACs (G)": f"{model['macs'] / 1e9:.1f}",
            "sparsity": f"{model['sparsity']:.3f}",
        }
        for model in models
    ]


def leaderboard_rows(table: pd.DataFrame, failed: Mapping[str, Collection[str]] | None = None) -> list[dict[str, Any]]:
    """Format a leaderboard for people: sizes in millions, MACs in billions, scores with their spread.

    Args:
        table: the leaderboard.
        failed: for each row, the tasks that failed. Rows without any score come last.
    """
    failed = failed or {}
    columns = {column: _title(column) for column in _scores(table)}
    # A task that failed on all rows has no column.
    shown = {column.split("_")[0] for column in columns}
    columns |= {task: task for tasks in failed.values() for task in tasks if task not in shown}
    rows = []
    for _, record in table.iterrows():
        row: dict[str, Any] = {"model": record["model"], "params (M)": f"{record['params'] / 1e6:.2f}"}
        row["size (MB)"] = "" if _missing(record["size_bytes"]) else f"{record['size_bytes'] / 1e6:.2f}"
        row["MACs (G)"] = "" if _missing(record["macs"]) else f"{record['macs'] / 1e9:.1f}"
        row["sparsity"] = "" if _missing(record["sparsity"]) else f"{record['sparsity']:.3f}"
        for column, title in columns.items():
            score = _score(record[column], record[f"{column}_std"]) if column in table else ""
            row[title] = score or _failed(column, failed.get(record["model"], ()))
        rows.append(row)
    for model in [model for model in failed if model not in set(table["model"])]:
        rows.append({"model": model, **{title: _failed(column, failed[model]) for column, title in columns.items()}})
    return rows


def _failed(column: str, tasks: Collection[str]) -> str:
    from bench.leaderboard.failed_cells import FAILED

    return FAILED if column.split("_", maxsplit=1)[0] in tasks else ""


def _scores(table: pd.DataFrame) -> list[str]:
    """List the score columns in the order of reports: by task, with the overall score last."""
    from bench.leaderboard.titles import OVERALL_TITLES, in_order

    found = [name for name in table.columns if f"{name}_std" in table.columns and not table[name].isna().all()]
    tasks = in_order(name.split("_")[0] for name in found)
    return sorted(found, key=lambda name: (name in OVERALL_TITLES, tasks.index(name.split("_")[0])))


def _title(column: str) -> str:
    return "relative score" if column == "relative_score" else f"{column} (%)"


def _score(value: float, spread: float) -> str:
    if _missing(value):
        return ""
    return f"{value:.2f}" if _missing(spread) else f"{value:.2f} ± {spread:.2f}"


def _missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))
