"""Published results on SUPERB as points of a Pareto plot, beside runs on SUPERB's own corpora alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd

from bench.contracts import Metric
from bench.report.plots.scores import COLUMNS, KINDS_OF_VALUES, overall_scores
from bench.report.plots.sources import Source
from bench.report.published import published_rows
from bench.score import Scores, superb6_score, superb_score

SCORES: Mapping[str, Callable[[Scores], float | None]] = MappingProxyType(
    {"superb_score": superb_score, "superb6_score": superb6_score}
)
"""Of the leaderboard, which leaves them empty for all but SUPERB's corpora; the one over all ten tasks first."""

DATA = "SUPERB"
PUBLISHED = "published"
"""Stands in the column ``compressor``."""


def published_scores(sources: Sequence[Source]) -> pd.DataFrame:
    """List published models, and those models of the runs that have the same score.

    Args:
        sources: runs; what was not done on SUPERB's corpora by its recipes has no such score and stays out.

    Returns:
        Columns as of `bench.report.plots.scores.task_scores`, of one setting.
    """
    mine = {name: overall_scores(sources, Metric(name, higher_is_better=True)) for name in SCORES}
    name = next((name for name, table in mine.items() if not table.empty), "superb_score")
    published = pd.DataFrame(
        [
            {
                "run": PUBLISHED,
                "model": row.model,
                "label": row.model,
                "is_published": True,
                "params": None if row.params_m is None else 1e6 * row.params_m,
                "macs_superb": None if row.macs_g is None else 1e9 * row.macs_g,
                "metric": name,
                "higher_is_better": True,
                "score": SCORES[name](row.scores),
            }
            for row in published_rows()
            if row.model != "FBANK"  # By definition it has 0, and it is nothing that one would compress.
        ],
        columns=COLUMNS,
    )
    published = published.fillna({"compressor": PUBLISHED, "is_teacher": False, "task": ""})
    same: dict[str, Any] = {"setting": 1, "data": DATA, "preset": "paper", "protocol": "s3prl"}
    tables = [table.assign(**same) for table in (published, mine[name]) if not table.empty]
    return pd.concat(tables, ignore_index=True).astype(KINDS_OF_VALUES)
