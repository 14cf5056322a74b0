"""Where the time of a piece of work goes: seconds by part, such as the upstream, reading and the head of a cell.

A part that begins within another one pauses it, so the parts add up to no more than the whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


class Stopwatch:
    """Wall-clock seconds by part, of one thread."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """By part, in the order in which the parts began."""
        self._parts: list[str] = []
        self._since = time.monotonic()

    def begin(self, part: str) -> None:
        """Begin a part, and pause the one that it is within."""
        self._note()
        self.seconds.setdefault(part, 0.0)
        self._parts.append(part)

    def end(self) -> None:
        """End the part that began last."""
        self._note()
        self._parts.pop()

    def shares(self) -> str:
        """Describe the parts, such as ``upstream 70 %, head 30 %``. Empty if nothing was measured."""
        total = sum(self.seconds.values())
        parts = sorted(self.seconds.items(), key=lambda part: -part[1])
        return ", ".join(f"{name} {seconds / total:.0%}".replace("%", " %") for name, seconds in parts) if total else ""

    def _note(self) -> None:
        now = time.monotonic()
        if self._parts:
            self.seconds[self._parts[-1]] += now - self._since
        self._since = now


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Measure the parts of the block, see `measuring`."""
    watch = Stopwatch()
    token = _current.set(watch)
    try:
        yield watch
    finally:
        _current.reset(token)


@contextmanager
def measuring(part: str) -> Iterator[None]:
    """Count the time of the block as a part of the work that `stopwatch` measures, if it does."""
    watch = _current.get()
    if watch is None:
        yield
        return
    watch.begin(part)
    try:
        yield
    finally:
        watch.end()
