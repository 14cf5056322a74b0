"""A run's leaderboard, rebuilt from its folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench import registry
from bench.contracts import Metric
from bench.leaderboard.collate import mean_scores, wide_table
from bench.leaderboard.overall import RunContext
from bench.leaderboard.tidy import tidy_scores
from bench.store.latency import MEASURED_ON, latency_columns, read_latencies
from bench.store.run_folder import RunFolder


def run_leaderboard(folder: RunFolder, split: str = "test", tasks: Collection[str] = ()) -> pd.DataFrame:
    """Collate a run's records. The teacher comes first, then other models given by reference, then compressed models.

    Args:
        folder: of the run.
        split: of the scores.
        tasks: tasks to collate; all if empty.

    Raises:
        UserError: the folder is no run, a record is torn, or a task's plug-in is not installed.
    """
    records = [record for record in folder.records if not tasks or record.cell.task in tasks]
    config = folder.read_config() or {}
    table, _ = collated(tidy_scores(records), config, folder.path, split)
    return table


def collated(
    scores: pd.DataFrame, config: Mapping[str, Any], path: Path, split: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Collate tidy scores into the leaderboard; also return its scores as `mean_scores` gives them.

    Args:
        scores: of one run, from `bench.leaderboard.tidy.tidy_scores`.
        config: content of its ``config.yaml``.
        path: the run's folder, which holds its latencies.
        split: of the scores.
    """
    run = run_context(scores, config)
    sources = config.get("models", {})
    rows = [*run.references, *(row for row in sources if row not in run.references)]
    models = sorted(scores["model"].unique())
    order = [model for row in rows for model in models if model == row or model.startswith(f"{row}-")]
    means = mean_scores(scores, split, run)
    return _with_latency(wide_table(scores, means, split, list(dict.fromkeys(order))), path), means


def run_context(scores: pd.DataFrame, config: Mapping[str, Any]) -> RunContext:
    """Collect what scores over many tasks need to know about a run.

    Args:
        scores: of the run, from `bench.leaderboard.tidy.tidy_scores`.
        config: content of its ``config.yaml``.
    """
    return RunContext(
        teacher=config.get("teacher"),
        references=references(config),
        metrics=primary_metrics(scores["task"].unique()),
    )


def references(config: Mapping[str, Any]) -> dict[str, str]:
    """Map the rows of models given by reference to these references.

    Args:
        config: content of a run's ``config.yaml``.
    """
    sources: Mapping[str, Mapping[str, Any]] = config.get("models", {})
    return {row: source["reference"] for row, source in sources.items() if source.get("reference")}


def _with_latency(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Add the measured columns after the counted ones."""
    latencies = latency_columns(read_latencies(path))
    columns = dict.fromkeys(name for values in latencies.values() for name in values)
    place = list(table.columns).index("macs_superb") + 1
    for offset, name in enumerate(columns):
        values = [latencies.get(model, {}).get(name) for model in table["model"]]
        kind = "object" if name == MEASURED_ON else "float64"
        table.insert(place + offset, name, pd.Series(values, index=table.index, dtype=kind))
    return table


def primary_metrics(tasks: Iterable[str]) -> dict[str, tuple[Metric, ...]]:
    """Look up which of the tasks' metrics are on SUPERB's leaderboard.

    Raises:
        UserError: no plug-in has this name.
    """
    return {
        task: tuple(metric for metric in registry.load("bench.tasks", task).metrics if metric.primary)
        for task in sorted(tasks)
    }
