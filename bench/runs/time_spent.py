"""How long a compression took, summed over the processes that worked on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from bench.files.sealed import read_sealed_json, write_sealed_json
from bench.provenance import cpu_seconds

FILE = "time_spent.json"
"""JSON, with a checksum in the last line."""


class TimeSpent(TypedDict):
    """The part of a model's provenance about the time to make it."""

    seconds: float
    """Wall-clock time."""
    cpu_seconds: float
    """Processor time, over all threads and ended children."""
    processes: int
    """Number of processes that worked on it, one after the other."""
    killed_processes: int
    """Number of processes that could not note their time, which is missing in the sums."""


@contextmanager
def noting_time(workdir: Path) -> Iterator[None]:
    """Note in a compression's working folder how long the block takes, even if it ends with an error."""
    sessions = _sessions(workdir)
    # Empty until the block ends, and so it remains if the process is killed.
    _write(workdir, [*sessions, {}])
    started, cpu_started = time.monotonic(), cpu_seconds()
    try:
        yield
    finally:
        session = {"seconds": time.monotonic() - started, "cpu_seconds": cpu_seconds() - cpu_started}
        _write(workdir, [*sessions, session])


def time_spent(workdir: Path) -> TimeSpent:
    """Sum the noted times. Damaged notes were set aside, and are missing in the sums."""
    sessions = _sessions(workdir)
    timed = [session for session in sessions if session]
    return TimeSpent(
        seconds=round(sum(session["seconds"] for session in timed), 3),
        cpu_seconds=round(sum(session["cpu_seconds"] for session in timed), 3),
        processes=len(sessions),
        killed_processes=len(sessions) - len(timed),
    )


def _sessions(workdir: Path) -> list[dict[str, float]]:
    return read_sealed_json(workdir / FILE) or []


def _write(workdir: Path, sessions: list[dict[str, float]]) -> None:
    write_sealed_json(workdir / FILE, sessions)
