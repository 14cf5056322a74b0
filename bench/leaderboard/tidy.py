"""All scores of a run as one tidy table: one row per model, seed, task, split and metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from bench.leaderboard.sampling import num_utterances
from bench.leaderboard.superb_deviations import deviations
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
"""What a leaderboard shows about a model, apart from its scores."""
COUNTS = ["params", "size_bytes", "macs", "macs_superb"]
COLUMNS = [
    *IDENTITY,
    "seed",
    "task",
    "split",
    "metric",
    "value",
    "num_utterances",
    "learning_rate",
    "is_superb",
]


def tidy_scores(records: Iterable[Record]) -> pd.DataFrame:
    """Tabulate the scores of records.

    Returns:
        The columns `COLUMNS`: ``value`` in percent; ``num_utterances`` of the split, missing if the task does not count
            them; ``learning_rate`` of the head, if the record has it; ``is_superb``, whether the score compares with
            SUPERB's public leaderboard.
    """
    table = pd.DataFrame([row for record in records for row in _rows(record)], columns=COLUMNS)
    whole = dict.fromkeys([*COUNTS, "num_utterances"], "Int64")
    return table.astype({"sparsity": "float64", "value": "float64", "is_superb": "bool", **whole})


def _rows(record: Record) -> Iterator[dict[str, object]]:
    shared = {
        "model": record.cell.model,
        **record.card.model_dump(include=set(IDENTITY)),
        "preset": record.preset,
        "data": record.data,
        "protocol": record.protocol,
        "seed": record.cell.seed,
        "task": record.cell.task,
        "learning_rate": record.settings.get("learning_rate"),
        "is_superb": not deviations(record),
    }
    for split, scores in record.scores.items():
        own = {"split": split, "num_utterances": num_utterances(record, split)}
        for metric, value in scores.items():
            yield {**shared, **own, "metric": metric, "value": 100 * value}
