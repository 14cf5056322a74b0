"""Turns of speakers: a table's column ``turns`` lists them for every recording, as JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bench.audio.files import SAMPLE_RATE_HZ
from bench.errors import UserError
from bench.text import shortened
from tasks.metrics.speaker_spans import Spans, merged, ticks

MOST_SPEAKERS = 2
"""SUPERB's head has two outputs."""
SHORTEST_S = 0.1
LONGEST_EXCESS_S = 0.5
"""Turns may reach this far past the end of the audio."""


class Turn(NamedTuple):
    """Uninterrupted speech of one speaker."""

    speaker: str
    start_s: float
    end_s: float


def turns_of(cell: str) -> list[Turn]:
    """Read a cell of the column ``turns``."""
    return [Turn(*values) for values in json.loads(cell)]


def turns_cell(turns: Iterable[Turn]) -> str:
    """Write a cell of the column ``turns``."""
    return json.dumps(list(turns))


def speakers_of(turns: Iterable[Turn]) -> list[str]:
    """Sort the names of the speakers."""
    return sorted({turn.speaker for turn in turns})


def spans_of_turns(turns: Sequence[Turn]) -> list[Spans]:
    """Return the spans of each speaker in the order of their names, rounded like an RTTM file's onset and duration."""
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for turn in turns:
        start = ticks(turn.start_s)
        spans[turn.speaker].append((start, start + ticks(turn.end_s - turn.start_s)))
    return [merged(spans[name]) for name in sorted(spans)]


def with_turns(table: pd.DataFrame, turns: Sequence[Sequence[Turn]], split: str, place: Path) -> pd.DataFrame:
    """Attach each recording's turns and the names of its speakers to a split's table.

    Raises:
        UserError: turns that the head cannot learn or the score cannot count.
    """
    for name, num_samples, spoken in zip(table["id"], table["num_samples"], turns, strict=True):
        _check(spoken, num_samples / SAMPLE_RATE_HZ, f"for {shortened(name, 60)} of {split}, in {place}")
    speakers = [" ".join(speakers_of(spoken)) for spoken in turns]
    return table.assign(turns=[turns_cell(spoken) for spoken in turns], speakers=speakers)


def _check(turns: Sequence[Turn], duration_s: float, where: str) -> None:
    if duration_s < SHORTEST_S:
        raise UserError(
            f"Expected at least {SHORTEST_S:g} s of audio {where}. Found {duration_s:.3f} s. Remove the recording."
        )
    wrong = next((turn for turn in turns if not 0 <= turn.start_s < turn.end_s <= duration_s + LONGEST_EXCESS_S), None)
    if wrong:
        raise UserError(
            f"Expected turns within the recording's {duration_s:.2f} s {where}. Found one of "
            f"{shortened(wrong.speaker, 40)} from {wrong.start_s:g} to {wrong.end_s:g} s. Correct it."
        )
    if not any(spans_of_turns(turns)):
        raise UserError(
            f"Expected turns of speakers, of at least 0.01 s, {where}. Found none. Add them, or remove the recording."
        )
    speakers = speakers_of(turns)
    if len(speakers) > MOST_SPEAKERS:
        raise UserError(
            f"Expected at most {MOST_SPEAKERS} speakers {where}. Found {len(speakers)}. Remove the recording, or cut "
            "it where others speak."
        )
