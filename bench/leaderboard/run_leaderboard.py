"""A run's leaderboard, rebuilt from what its folder holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench import registry
from bench.contracts import Metric
from bench.leaderboard.collate import leaderboard
from bench.leaderboard.overall import RunContext
from bench.store.latency import MEASURED_ON, latency_columns, read_latencies
from bench.store.records import Record
from bench.store.run_folder import RunFolder


def run_leaderboard(folder: RunFolder, split: str = "test", tasks: Collection[str] = ()) -> pd.DataFrame:
    """Collate a run's records: models evaluated as they are first, the teacher before all, then compressed ones.

    Args:
        folder: of the run.
        split: whose scores.
        tasks: those to collate; all where none is named.

    Raises:
        UserError: no run there, a torn record, or a task whose plug-in is not installed.
    """
    records = [record for record in folder.records if not tasks or record.cell.task in tasks]
    config = folder.read_config() or {}
    return collated(records, config, folder.path, split)


def collated(records: Sequence[Record], config: Mapping[str, Any], path: Path, split: str) -> pd.DataFrame:
    """Collate records that are read already.

    Args:
        records: of one run.
        config: what its ``config.yaml`` holds.
        path: of the run's folder, for the latencies in it.
        split: whose scores.
    """
    run = run_context(records, config)
    sources = config.get("models", {})
    rows = [*run.references, *(row for row in sources if row not in run.references)]
    models = sorted({record.cell.model for record in records})
    order = [model for row in rows for model in models if model == row or model.startswith(f"{row}-")]
    return _with_latency(leaderboard(records, split, list(dict.fromkeys(order)), run), path)


def run_context(records: Iterable[Record], config: Mapping[str, Any]) -> RunContext:
    """Collect what scores over many tasks need to know of a run.

    Args:
        records: of the run.
        config: what its ``config.yaml`` holds.
    """
    sources: Mapping[str, Mapping[str, Any]] = config.get("models", {})
    return RunContext(
        teacher=config.get("teacher"),
        references={row: source["reference"] for row, source in sources.items() if source.get("reference")},
        metrics=primary_metrics({record.cell.task for record in records}),
    )


def _with_latency(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Put what was measured of the models next to what was counted."""
    latencies = latency_columns(read_latencies(path))
    columns = dict.fromkeys(name for values in latencies.values() for name in values)
    place = list(table.columns).index("macs_superb") + 1
    for offset, name in enumerate(columns):
        values = [latencies.get(model, {}).get(name) for model in table["model"]]
        kind = "object" if name == MEASURED_ON else "float64"
        table.insert(place + offset, name, pd.Series(values, index=table.index, dtype=kind))
    return table


def primary_metrics(tasks: Iterable[str]) -> dict[str, tuple[Metric, ...]]:
    """Ask the tasks which of their metrics stand on SUPERB's leaderboard.

    Raises:
        UserError: no plug-in has this name.
    """
    return {
        task: tuple(metric for metric in registry.load("bench.tasks", task).metrics if metric.primary)
        for task in sorted(tasks)
    }
