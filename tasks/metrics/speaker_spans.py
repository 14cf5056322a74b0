"""Who speaks when in one recording, on RTTM's grid of 10 ms, and as text.

The text names the speakers by number: ``1: 0.26-3.90 4.10-8.02; 2: 1.50-6.04``. It is empty if nobody speaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

TICKS_PER_S = 100
"""RTTM files have times with two decimals."""

Spans = Sequence[tuple[int, int]]
"""Starts and ends of one speaker's speech in ticks, in order and apart from each other."""


def ticks(time_s: float) -> int:
    """Round a time like an RTTM file's two decimals."""
    return round(float(f"{time_s:.2f}") * TICKS_PER_S)


def merged(spans: Iterable[tuple[int, int]]) -> Spans:
    """Sort spans, join those that touch or overlap, and leave out empty ones."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def spans_text(speakers: Sequence[Spans]) -> str:
    """Write the spans of all speakers as text. A speaker's number is its position, from 1."""
    return "; ".join(
        f"{number}: " + " ".join(f"{start / TICKS_PER_S:.2f}-{end / TICKS_PER_S:.2f}" for start, end in spans)
        for number, spans in enumerate(speakers, start=1)
        if spans
    )


def spans_of_text(text: str) -> list[Spans]:
    """Read what `spans_text` wrote. Speakers who never speak are left out."""
    return [
        [(ticks(float(start)), ticks(float(end))) for start, end in (span.split("-") for span in spoken.split())]
        for _, _, spoken in (part.partition(":") for part in text.split(";") if part.strip())
    ]
