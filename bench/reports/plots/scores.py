"""The scores of runs as figures show them: their titles, and one table per setting."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.leaderboard.comparable import Board
from bench.leaderboard.notes import preset_name
from bench.leaderboard.shown_scores import SETTING, shown_scores
from bench.leaderboard.titles import score_title
from bench.reports.plots.sources import Source


def boards_of(sources: Sequence[Source]) -> list[Board]:
    """Return the leaderboards of the sources that are runs with finished cells."""
    return [source.board for source in sources if source.board is not None]


def scores_of(sources: Sequence[Source]) -> pd.DataFrame:
    """List all scores of the runs, see `bench.leaderboard.shown_scores`."""
    return shown_scores(boards_of(sources))


def panel_title(rows: pd.DataFrame) -> str:
    """Name the score of a panel, its unit, and which way is better."""
    task, metric, higher_is_better = rows[["task", "metric", "higher_is_better"]].iloc[0]
    unit = " (%)" if task else ""
    return f"{score_title(task, metric)}{unit} {'↑' if higher_is_better else '↓'}"


def setting_label(table: pd.DataFrame) -> str:
    """Describe where the scores of a table of one setting come from."""
    own = table[~table["is_published"]] if "is_published" in table else table
    if own.empty:
        return "published results on SUPERB's corpora, not of this suite"
    data, preset, protocol = own[SETTING].iloc[0]
    others = "" if len(own) == len(table) else "; with published results on SUPERB's corpora"
    return f"{data}, preset {preset_name(preset)}, protocol {protocol}{others}"


def by_setting(table: pd.DataFrame, name: str) -> list[tuple[str, pd.DataFrame]]:
    """Split a table by ``setting``, so that scores within a part may be compared; each part has a figure name."""
    groups = [(key, group.reset_index(drop=True)) for key, group in table.groupby("setting", sort=False)]
    return [(name if len(groups) == 1 else f"{name}-{key}", group) for key, group in groups]
