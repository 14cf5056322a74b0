"""Trials of speaker verification: pairs of recordings of one speaker or of two.

A split's table holds each recording once. Its column ``trials`` lists the trials whose first recording it is, as JSON:
pairs of 1 or 0 (same speaker or not) and the id of the second recording.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.audio.files import SAMPLE_RATE_HZ
from bench.errors import UserError
from bench.text import shortened

SHORTEST_S = 0.35
"""The x-vector's layers span 15 frames of 20 ms, and its pooling needs two results."""


@dataclass(frozen=True)
class Trial:
    """Two recordings to compare."""

    is_same: bool
    """Whether one speaker made both."""
    first: str
    second: str

    @property
    def name(self) -> str:
        """The ids of both recordings."""
        return f"{self.first} {self.second}"


def trials_of(table: pd.DataFrame) -> list[Trial]:
    """List the trials of a split, grouped by their first recording."""
    return [
        Trial(bool(same), first, second)
        for first, trials in zip(table["id"], table["trials"], strict=True)
        for same, second in json.loads(trials)
    ]


def with_trials(table: pd.DataFrame, trials: Sequence[Trial]) -> pd.DataFrame:
    """Attach trials to the recordings of a split, and leave out recordings that are in none.

    A repeated trial counts once.
    """
    by_first: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for trial in dict.fromkeys(trials):
        by_first[trial.first].append((int(trial.is_same), trial.second))
    used = {name for trial in trials for name in (trial.first, trial.second)}
    kept = table[table["id"].isin(used)].reset_index(drop=True)
    return kept.assign(trials=[json.dumps(by_first[name]) for name in kept["id"]])


def drawn_recordings(table: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Draw at most ``limit`` recordings from the ids alone: two of each speaker as far as they go, then two more."""
    ranked = table.sort_values("id", key=lambda names: names.map(_rank))
    order = pd.DataFrame(
        {"round": ranked.groupby("speaker").cumcount() // 2, "speaker": ranked["speaker"].map(_rank)}
    ).sort_values(["round", "speaker"], kind="stable")
    return table.loc[order.index[:limit].sort_values()].reset_index(drop=True)


def drawn_trials(table: pd.DataFrame, trials_per_recording: int) -> list[Trial]:
    """Draw trials from the ids alone: for each recording, as many with its speaker as with others.

    Args:
        table: recordings, with the columns id and speaker.
        trials_per_recording: the number of trials that each recording begins.
    """
    speakers = dict(zip(table["id"], table["speaker"], strict=True))
    made = []
    for first, speaker in speakers.items():
        others = sorted((name for name in speakers if name != first), key=lambda name: _rank(f"{first} {name}"))
        for is_same in (True, False):
            chosen = [name for name in others if (speakers[name] == speaker) == is_same]
            made += [Trial(is_same, first, name) for name in chosen[: trials_per_recording // 2]]
    return made


def limited_trials(trials: Sequence[Trial], limit: int) -> list[Trial]:
    """Draw trials that need at most ``limit`` recordings, as many of one speaker as of two."""
    turns: list[Iterator[Trial]] = [
        iter(sorted((one for one in trials if one.is_same == kind), key=lambda one: _rank(one.name)))
        for kind in (True, False)
    ]
    used: set[str] = set()
    chosen: list[Trial] = []
    for pair in zip(*turns, strict=False):
        needed = used | {name for trial in pair for name in (trial.first, trial.second)}
        if len(needed) > limit:
            continue
        used = needed
        chosen += pair
    return chosen


def check_trials(table: pd.DataFrame, split: str, place: Path) -> None:
    """Refuse trials that cannot be scored.

    Raises:
        UserError: all are of one kind, or a recording is too short.
    """
    kinds = {trial.is_same for trial in trials_of(table)}
    if kinds != {True, False}:
        found = "none" if not kinds else "only " + ("same" if True in kinds else "different") + " speakers"
        raise UserError(
            f"Expected trials of the same speaker and of different ones in {split}, in {place}. Found {found}. "
            "Add trials of both kinds: the equal error rate needs both."
        )
    short = table[table["num_samples"] < SHORTEST_S * SAMPLE_RATE_HZ]
    if not short.empty:
        raise UserError(
            f"Expected recordings of at least {SHORTEST_S:g} s in the trials of {split}, in {place}. Found "
            f"{shortened(short['id'].iloc[0])} with {short['num_samples'].iloc[0] / SAMPLE_RATE_HZ:.2f} s "
            f"({len(short)} such). Remove its trials."
        )


def _rank(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
