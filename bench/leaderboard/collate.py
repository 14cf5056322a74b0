"""The leaderboard: one row a model, derived from records alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bench.files.atomic import write_atomically
from bench.files.csv_text import csv_text
from bench.leaderboard.overall import RunContext, score_columns
from bench.leaderboard.sampling import num_utterances
from bench.store.records import Record

IDENTITY = [
    "model",
    "compressor",
    "teacher",
    "sparsity",
    "target_sparsity",
    "params",
    "size_bytes",
    "macs",
    "macs_superb",
    "preset",
    "data",
    "protocol",
]

SMOKE = "smoke"
"""The preset that only checks that everything runs."""
MEANINGLESS = "scores are meaningless"
NOTE = "note"
"""Column: what a reader must know of a row; empty unless its preset is `SMOKE`."""
UTTERANCES, SEEDS = "utterances", "seeds"
"""Ends of the columns ``<task>_utterances`` and ``<task>_seeds``."""

COUNTS = ["params", "size_bytes", "macs", "macs_superb"]
MEASURED = ["sparsity", *COUNTS]
"""What differs between the seeds of a sweep."""


def leaderboard(
    records: Iterable[Record], split: str = "test", order: Sequence[str] = (), run: RunContext | None = None
) -> pd.DataFrame:
    """Collate records into one row per model.

    Args:
        records: of one run.
        split: whose scores to show.
        order: models in the order wanted; others follow by name.
        run: what the relative score needs to know; without it that stays empty.

    Returns:
        The columns of ``IDENTITY``, then ``<task>_<metric>`` in percent (mean over seeds) with
        ``<task>_<metric>_std`` next to it (sample standard deviation, empty for one seed), the scores over many
        tasks (`bench.leaderboard.overall.score_columns`), ``<task>_learning_rate`` of the heads where records have it,
        the numbers of utterances and seeds of each task's scores (``<task>_utterances``, ``<task>_seeds``), and `NOTE`.
    """
    records = list(records)
    long = pd.DataFrame(
        [
            _identity(record)
            | {"seed": record.cell.seed, "metric": f"{record.cell.task}_{metric}", "value": 100 * value}
            for record in records
            for metric, value in record.scores.get(split, {}).items()
        ],
        columns=[*IDENTITY, "seed", "metric", "value"],
    )
    long = long.astype({"sparsity": "float64", **dict.fromkeys(COUNTS, "Int64")})
    grouped = long.groupby(["model", "metric"], sort=False)["value"]
    mean, spread = grouped.mean().unstack("metric"), grouped.std().unstack("metric")
    scores = pd.DataFrame(index=mean.index)
    for metric in mean.columns:
        scores[metric] = mean[metric]
        scores[f"{metric}_std"] = spread[metric]
    scores = scores.join(score_columns(records, split, run or RunContext())).join(_learning_rates(records))
    rows = _rows(long).merge(scores.join(_sample_sizes(records, split)).reset_index(), on="model", how="left")
    rows[NOTE] = rows["preset"].map(lambda preset: f"preset {SMOKE}: {MEANINGLESS}" if preset == SMOKE else None)
    rank = {model: position for position, model in enumerate(order)}
    return rows.sort_values("model", key=lambda names: names.map(lambda name: (rank.get(name, len(rank)), name)))


def write_leaderboard(table: pd.DataFrame, run_folder: Path) -> Path:
    """Write ``leaderboard.csv`` and return its path."""
    path = run_folder / "leaderboard.csv"
    write_atomically(path, csv_text(table))
    return path


def _rows(long: pd.DataFrame) -> pd.DataFrame:
    """Take one row a model, with the mean size and cost over seeds, which may have compressed to different ones."""
    rows = long[IDENTITY].drop_duplicates("model")
    seeds = long[["model", "seed", *MEASURED]].drop_duplicates(["model", "seed"])
    means = seeds.groupby("model", sort=False)[MEASURED].mean().reset_index()
    means[COUNTS] = means[COUNTS].round().astype("Int64")
    return rows.drop(columns=MEASURED).merge(means, on="model")[IDENTITY]


def _learning_rates(records: Iterable[Record]) -> pd.DataFrame:
    """One row a model; blank where seeds of a sweep, each with its own model and search, have found different rates."""
    rates: dict[str, dict[str, set[float]]] = {}
    for record in records:
        if "learning_rate" in record.settings:
            column = f"{record.cell.task}_learning_rate"
            found = rates.setdefault(record.cell.model, {}).setdefault(column, set())
            found.add(record.settings["learning_rate"])
    table = {
        model: {column: min(found) if len(found) == 1 else None for column, found in columns.items()}
        for model, columns in rates.items()
    }
    return pd.DataFrame.from_dict(table, orient="index")


def _sample_sizes(records: Sequence[Record], split: str) -> pd.DataFrame:
    """Count the utterances and seeds of every task, one row per model; the fewest utterances where seeds differ."""
    cells: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.scores.get(split):
            cells.setdefault((record.cell.model, record.cell.task), []).append(record)
    table: dict[str, dict[str, int | None]] = {}
    for (model, task), own in cells.items():
        counts = [count for record in own if (count := num_utterances(record, split)) is not None]
        table.setdefault(model, {})[f"{task}_{UTTERANCES}"] = min(counts, default=None)
        table[model][f"{task}_{SEEDS}"] = len(own)
    return pd.DataFrame.from_dict(table, orient="index").astype("Int64")


def _identity(record: Record) -> dict[str, object]:
    card = record.card
    return {
        "model": record.cell.model,
        "compressor": card.compressor,
        "teacher": card.teacher,
        "sparsity": card.sparsity,
        "target_sparsity": card.target_sparsity,
        "params": card.params,
        "size_bytes": card.size_bytes,
        "macs": card.macs,
        "macs_superb": card.macs_superb,
        "preset": record.preset,
        "data": record.data,
        "protocol": record.protocol,
    }
