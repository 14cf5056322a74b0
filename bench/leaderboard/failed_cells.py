"""Which cells of a run have failed, according to the notes of its processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import pandas as pd

from bench.leaderboard.titles import in_order
from bench.store.compressions import stored_compressions
from bench.store.records import Cell
from bench.store.run_folder import COMPRESS, LOAD, RunFolder

FAILED = "failed"
"""Shown in tables in place of a score; also the column that lists the tasks that failed on a row."""
SEPARATOR = ";"
"""Separates the tasks in that column."""


def failed_tasks(folder: RunFolder, config: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """List the tasks of each row that failed for some seed and have not succeeded since.

    Args:
        folder: of the run.
        config: content of its ``config.yaml``.

    Returns:
        Row to tasks. A row whose model could not be made or loaded has failed on every task without a record.
    """
    tasks = list(config.get("tasks", ()))
    found: dict[str, set[str]] = {}
    made = [row for compression in stored_compressions(config) for row in compression.folders(folder).values()]
    for row, task, seed in product(dict.fromkeys([*config["models"], *made]), tasks, config["seeds"]):
        cell = Cell(model=row, task=task, seed=seed)
        if folder.failure_path(cell.stem()).is_file() and not folder.records.path(cell).is_file():
            found.setdefault(row, set()).add(task)
    for what, row in _without_models(folder, config):
        if folder.failure_path(what).is_file():
            scored = {record.cell.task for record in folder.records.of(row)}
            found.setdefault(row, set()).update(set(tasks) - scored)
    return {row: tuple(in_order(failed)) for row, failed in found.items() if failed}


def _without_models(folder: RunFolder, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Pair every step that a row's model depends on, loading or compression, with the row."""
    for row in config["models"]:
        yield f"{LOAD} {row}", row
    for compression in stored_compressions(config):
        yield f"{COMPRESS} {compression.name}", compression.row
        for weights, row in (compression.folders(folder) or {compression.name: compression.row}).items():
            yield f"{LOAD} {weights}", row


def with_failures(table: pd.DataFrame, failed: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    """Add the column `FAILED`, and rows for models without any score. Without failures, return the table unchanged.

    Args:
        table: a leaderboard, with a row for every model that has a score.
        failed: rows to the tasks that failed on them.
    """
    if not failed:
        return table
    unscored = pd.DataFrame({"model": [row for row in failed if row not in set(table["model"])]})
    # All rows of a run share these columns.
    unscored = unscored.assign(**{name: table[name].iloc[0] for name in ("preset", "data", "protocol")})
    whole = pd.concat([table, unscored], ignore_index=True).astype(table.dtypes)
    listed = {row: SEPARATOR.join(tasks) for row, tasks in failed.items()}
    return whole.assign(**{FAILED: whole["model"].map(listed).astype(object)})


def tasks_that_failed(row: Mapping[Any, Any] | pd.Series) -> list[str]:
    """Read the column `FAILED` of one row."""
    listed = row.get(FAILED)
    return listed.split(SEPARATOR) if isinstance(listed, str) else []


def failure_notes(failed: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Report in one line what failed; empty if nothing did."""
    told = "; ".join(f"{row} ({', '.join(tasks)})" for row, tasks in failed.items())
    return [f"Failed, with the reasons in failures/ of the run's folder: {told}. Run again to retry."] if told else []
