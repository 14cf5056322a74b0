"""RTTM files: who speaks when, in any number of recordings."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

from bench.errors import UserError
from bench.text import shortened
from tasks.corpora.speaker_turns import Turn
from tasks.corpora.text_files import read_text

_FIELDS = 8
"""Up to the speaker's name; the two that follow are often left out."""


def read_rttm(file: Path) -> dict[str, list[Turn]]:
    """Read the turns of every recording.

    Source: NIST, RT-09 evaluation plan, appendix A. Lines of other types than ``SPEAKER`` and comments are skipped.

    Raises:
        UserError: the file is unreadable, or a line is malformed.
    """
    turns: dict[str, list[Turn]] = defaultdict(list)
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        start_s, duration_s = (_seconds(text) for text in (fields[3:5] if len(fields) >= _FIELDS else ("", "")))
        if math.isnan(start_s) or math.isnan(duration_s) or duration_s <= 0:
            raise UserError(
                "Expected `SPEAKER <recording> 1 <onset> <duration> <NA> <NA> <speaker> <NA> <NA>`, in seconds, in "
                f"line {number} of {file}. Found {shortened(line.strip())!r}. Correct the line."
            )
        turns[fields[1]].append(Turn(fields[7], start_s, start_s + duration_s))
    if not turns:
        raise UserError(f"Expected lines `SPEAKER ...` in {file}. Found none. Is it an RTTM file?")
    return dict(turns)


def _seconds(text: str) -> float:
    """Return a time. NaN if the text is none."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
