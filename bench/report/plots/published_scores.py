"""Published results on SUPERB as points of a Pareto plot, together with runs on SUPERB's own corpora only."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.contracts import Metric
from bench.leaderboard.published import FBANK, PUBLISHED, published_table
from bench.report.plots.scores import COLUMNS, KINDS_OF_VALUES, overall_scores
from bench.report.plots.sources import Source

SCORES = ("superb_score", "superb6_score")
"""Columns of the leaderboard, empty except on SUPERB's own corpora; the score over all ten tasks comes first."""


def published_scores(sources: Sequence[Source]) -> pd.DataFrame:
    """List published models, and the runs' models that have the same score.

    Args:
        sources: runs; only those on SUPERB's corpora with its recipes have such a score, others are left out.

    Returns:
        Columns as in `bench.report.plots.scores.task_scores`, of one setting.
    """
    mine = {name: overall_scores(sources, Metric(name, higher_is_better=True)) for name in SCORES}
    name = next((name for name, table in mine.items() if not table.empty), SCORES[0])
    table = published_table()
    # Filter banks score 0 by definition, and nobody would compress them.
    table = table[table["model"] != FBANK].assign(
        run=PUBLISHED,
        label=table["model"],
        compressor=PUBLISHED,
        is_teacher=False,
        is_published=True,
        task="",
        metric=name,
        higher_is_better=True,
        score=table[name],
    )
    tables = [one.assign(setting=1) for one in (table.reindex(columns=COLUMNS), mine[name]) if not one.empty]
    return pd.concat([one.astype(KINDS_OF_VALUES) for one in tables], ignore_index=True)
