"""The leaderboard: one row per model, derived from records only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bench.files.atomic import write_atomically
from bench.files.csv_text import csv_text
from bench.leaderboard.overall import OVERALL, RELATIVE, SUPERB, SUPERB6, RunContext, overall_scores
from bench.leaderboard.tidy import COUNTS, IDENTITY, tidy_scores
from bench.store.records import Record

SMOKE = "smoke"
"""The preset that only checks that everything runs."""
MEANINGLESS = "scores are meaningless"
NOTE = "note"
"""Column: what a reader must know about a row; empty unless its preset is `SMOKE`."""
UTTERANCES, SEEDS = "utterances", "seeds"
"""Suffixes of the columns ``<task>_utterances`` and ``<task>_seeds``."""

VALUES = ["score", "score_std"]
MEASURED = ["sparsity", *COUNTS]
"""Values that differ between the seeds of a sweep."""


def leaderboard(
    records: Iterable[Record], split: str = "test", order: Sequence[str] = (), run: RunContext | None = None
) -> pd.DataFrame:
    """Collate records into one row per model; see `wide_table`."""
    scores = tidy_scores(records)
    return wide_table(scores, mean_scores(scores, split, run), split, order)


def mean_scores(scores: pd.DataFrame, split: str, run: RunContext | None = None) -> pd.DataFrame:
    """Average scores over seeds, and add the scores over many tasks.

    Args:
        scores: of one run, from `bench.leaderboard.tidy.tidy_scores`.
        split: of the scores to show.
        run: information for the relative score, which stays empty without it.

    Returns:
        One row per model and score: ``model``, ``task`` (empty for a score over many tasks), ``metric``, ``score`` in
        percent, and ``score_std``, the sample standard deviation over the seeds (empty for one seed).
    """
    scores = scores[scores["split"] == split]
    grouped = scores.groupby(["model", "task", "metric"], sort=False)["value"]
    means = grouped.agg(score="mean", score_std="std").reset_index()
    return pd.concat([means, overall_scores(scores, run or RunContext())], ignore_index=True)


def wide_table(
    scores: pd.DataFrame, means: pd.DataFrame, split: str = "test", order: Sequence[str] = ()
) -> pd.DataFrame:
    """Collate scores into one row per model.

    Args:
        scores: of one run, from `bench.leaderboard.tidy.tidy_scores`.
        means: of the same split, from `mean_scores`.
        split: of the scores to show.
        order: models in the order wanted; others follow by name.

    Returns:
        The columns of ``IDENTITY``, then ``<task>_<metric>`` in percent (mean over seeds) with ``<task>_<metric>_std``
        next to it (sample standard deviation, empty for one seed), the scores over many tasks
        (`bench.leaderboard.overall.overall_scores`), ``<task>_learning_rate`` of the heads if records have it, the
        numbers of utterances and seeds of each task's scores (``<task>_utterances``, ``<task>_seeds``), and `NOTE`.
    """
    scores = scores[scores["split"] == split]
    table = _wide(means).join(_learning_rates(scores))
    rows = _rows(scores).merge(table.join(_sample_sizes(scores)).reset_index(), on="model", how="left")
    rows[NOTE] = rows["preset"].map(lambda preset: f"preset {SMOKE}: {MEANINGLESS}" if preset == SMOKE else None)
    rank = {model: position for position, model in enumerate(order)}
    return rows.sort_values(
        "model", key=lambda names: names.map(lambda name: (rank.get(name, len(rank)), name)), ignore_index=True
    )


def write_leaderboard(table: pd.DataFrame, run_folder: Path) -> Path:
    """Write ``leaderboard.csv`` and return its path."""
    path = run_folder / "leaderboard.csv"
    write_atomically(path, csv_text(table))
    return path


def _wide(means: pd.DataFrame) -> pd.DataFrame:
    """Make one row per model, with the scores in columns."""
    names = (means["task"] + "_" + means["metric"]).str.removeprefix("_")
    by_task = sorted(names[means["task"] != ""].unique())
    mean, spread = (
        means.assign(name=names)
        .pivot(index="model", columns="name", values=value)
        .reindex(columns=[*by_task, *OVERALL])
        for value in VALUES
    )
    columns = {f"{name}{end}": part[name] for name in by_task for end, part in (("", mean), ("_std", spread))}
    columns |= {RELATIVE: mean[RELATIVE], f"{RELATIVE}_std": spread[RELATIVE]}
    return pd.DataFrame(columns | {name: mean[name] for name in (SUPERB6, SUPERB)}, index=mean.index)


def _rows(scores: pd.DataFrame) -> pd.DataFrame:
    """Make one row per model. Size and cost are means over the seeds, whose models may differ in size."""
    rows = scores[IDENTITY].drop_duplicates("model")
    seeds = scores[["model", "seed", *MEASURED]].drop_duplicates(["model", "seed"])
    means = seeds.groupby("model", sort=False)[MEASURED].mean().reset_index()
    means[COUNTS] = means[COUNTS].round().astype("Int64")
    return rows.drop(columns=MEASURED).merge(means, on="model")[IDENTITY]


def _learning_rates(scores: pd.DataFrame) -> pd.DataFrame:
    """Make one row per model; blank if seeds found different rates (in sweeps, each has its own model and search)."""
    rates = scores.dropna(subset="learning_rate").astype({"learning_rate": object}).groupby(["model", "task"])
    known = rates["learning_rate"]
    return known.first().where(known.nunique() == 1).unstack().add_suffix("_learning_rate")


def _sample_sizes(scores: pd.DataFrame) -> pd.DataFrame:
    """Count the utterances and seeds of every task, one row per model; the smallest count if seeds differ."""
    sizes = scores.groupby(["model", "task"]).agg(utterances=("num_utterances", "min"), seeds=("seed", "nunique"))
    wide = sizes.astype("Int64").unstack()
    tasks = scores["task"].unique()
    return pd.DataFrame({f"{task}_{what}": wide[what, task] for task in tasks for what in (UTTERANCES, SEEDS)})
