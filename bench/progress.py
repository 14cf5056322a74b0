"""How far long work is: a bar on a terminal, and a line with the time left every half a minute elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30.0

Item = TypeVar("Item")

logger = logging.getLogger(__name__)


_reporter: ContextVar[Callable[[str], None] | None] = ContextVar("reporter", default=None)


@contextmanager
def reported_to(reporter: Callable[[str], None]) -> Iterator[None]:
    """Let all work in the block report how far it is, in words such as ``features: 3 of 8 files``."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


def report(what: str, done: int, total: int | None, unit: str = "", left: str = "") -> str:
    """Return in words how far work is, and give them to whoever wants to know.

    Args:
        what: the work.
        done: parts that are done.
        total: all parts; None if nobody knows.
        unit: what the parts are.
        left: the time left, as `TimeLeft.after` returns it.
    """
    text = f"{what}: {done} of {total or '?'}{f' {unit}' if unit else ''}{left}"
    if reporter := _reporter.get():
        reporter(text)
    return text


def bars_are_drawn() -> bool:
    """Return whether standard error is a terminal, and the user wants more than warnings."""
    return sys.stderr.isatty() and logger.isEnabledFor(logging.INFO)


class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """A bar without tqdm's monitor: a daemon thread, which may still run while the interpreter shuts down."""

    monitor_interval = 0


class Progress:
    """Shows how much of a piece of work is done.

    Args:
        what: the work.
        total: its parts.
        done: parts that an earlier call has done.
        unit: what the parts are.
    """

    def __init__(self, what: str, total: int, done: int = 0, unit: str = "") -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self.left = TimeLeft(total, done)
        self.bar = Bar(
            desc=what, total=total, initial=done, unit=unit or "it", disable=not bars_are_drawn(), leave=False
        )
        self.last_line = time.monotonic()

    def show(self, done: int) -> None:
        """Show that so many parts are done, earlier calls' among them."""
        self.done = done
        self.bar.update(done - self.bar.n)
        line = report(self.what, done, self.total, self.unit, self.left.after(done))
        if self.bar.disable and time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            logger.info(line)

    def add(self, count: int) -> None:
        """Show that so many further parts are done."""
        self.done += count
        self.show(self.done)

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()


class TimeLeft:
    """Estimates the time that is left from what this process has done so far.

    Args:
        total: parts of the work.
        done: parts that an earlier process has done.
    """

    def __init__(self, total: int, done: int) -> None:
        self.total = total
        self.first = done
        self.started = time.monotonic()

    def after(self, done: int) -> str:
        """Return ``, 3 min left``; nothing before this process has done a part, and at the end."""
        if done <= self.first or done >= self.total:
            return ""
        seconds = (time.monotonic() - self.started) * (self.total - done) / (done - self.first)
        return f", {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Return a rounded time, such as ``40 s``, ``3 min`` or ``2 h 10 min``."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def tracked(items: Iterable[Item], what: str, total: int, unit: str, done: int = 0) -> Iterator[Item]:
    """Yield the items, and show how many have been worked on."""
    progress = Progress(what, total, done, unit)
    for number, item in enumerate(items, start=done + 1):
        yield item
        progress.show(number)
    progress.close()
