"""Fixed subsets of a split's utterances."""

from __future__ import annotations

import hashlib
import logging

import pandas as pd

from bench.audio.files import SAMPLE_RATE_HZ
from bench.errors import UserError

logger = logging.getLogger(__name__)


def short_enough(frame: pd.DataFrame, max_duration_s: float | None, split: str) -> pd.DataFrame:
    """Leave out utterances longer than ``max_duration_s``. None: keep all.

    Raises:
        UserError: none is left.
    """
    if max_duration_s is None:
        return frame
    short = frame[frame["num_samples"] <= max_duration_s * SAMPLE_RATE_HZ]
    if short.empty and not frame.empty:
        shortest_s = frame["num_samples"].min() / SAMPLE_RATE_HZ
        raise UserError(
            f"Expected utterances of at most {max_duration_s:g} s in {split}. The shortest has {shortest_s:.1f} s. "
            "Raise max_duration_s, or cut the recordings."
        )
    if len(short) < len(frame):
        logger.info("Left out %d of %d utterances of %s: too long", len(frame) - len(short), len(frame), split)
    return short.reset_index(drop=True)


def stratified(frame: pd.DataFrame, by: str, limit: int | None, draw: int | str) -> pd.DataFrame:
    """Draw rows as evenly as possible from the groups, and keep the frame's order.

    Args:
        frame: one row per utterance.
        by: column with the groups. One group if it is missing.
        limit: number of rows. None: all.
        draw: seed, or ``shortest``; see `HeadConfig.subset_draw`.
    """
    if limit is None or len(frame) <= limit:
        return frame
    if draw == "shortest":
        ordered = frame.sort_values(["num_samples", "id"], kind="stable")
    else:
        # Ranked by the hash of the id, so the draw depends neither on the order of files nor on the machine.
        ordered = frame.sort_values("id", key=lambda names: names.map(lambda name: _rank(name, draw)), kind="stable")
    turn = ordered.groupby(by if by in frame else lambda _: 0).cumcount()
    chosen = turn.sort_values(kind="stable").index[:limit]
    return frame.loc[chosen.sort_values()].reset_index(drop=True)


def _rank(name: str, draw: int | str) -> str:
    return hashlib.sha256(f"{draw} {name}".encode()).hexdigest()
