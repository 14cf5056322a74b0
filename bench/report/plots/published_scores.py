"""Published results on SUPERB as points of a Pareto plot, beside runs on SUPERB's own corpora alone."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.contracts import Metric
from bench.leaderboard.published import FBANK, PUBLISHED, published_table
from bench.report.plots.scores import COLUMNS, KINDS_OF_VALUES, overall_scores
from bench.report.plots.sources import Source

SCORES = ("superb_score", "superb6_score")
"""Of the leaderboard, which leaves them empty for all but SUPERB's corpora; the one over all ten tasks first."""


def published_scores(sources: Sequence[Source]) -> pd.DataFrame:
    """List published models, and those models of the runs that have the same score.

    Args:
        sources: runs; what was not done on SUPERB's corpora by its recipes has no such score and stays out.

    Returns:
        Columns as of `bench.report.plots.scores.task_scores`, of one setting.
    """
    mine = {name: overall_scores(sources, Metric(name, higher_is_better=True)) for name in SCORES}
    name = next((name for name, table in mine.items() if not table.empty), SCORES[0])
    table = published_table()
    # By definition filter banks have 0, and they are nothing that one would compress.
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
