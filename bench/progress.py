"""Progress of long work: a bar on a terminal, elsewhere a line with the time left every half minute."""

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
    """Pass the progress of all work in the block to ``reporter``, in words such as ``features: 3 of 8 files``."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


def report(what: str, done: int, total: int | None, unit: str = "", left: str = "") -> str:
    """Describe progress in words, pass the text to the current reporter, and return it.

    Args:
        what: the work.
        done: number of finished parts.
        total: number of all parts. None if unknown.
        unit: what the parts are.
        left: the time left, as `TimeLeft.after` returns it.
    """
    text = f"{what}: {done} of {total or '?'}{f' {unit}' if unit else ''}{left}"
    pass_on(text)
    return text


def pass_on(text: str) -> None:
    """Pass progress in words to the current reporter."""
    if reporter := _reporter.get():
        reporter(text)


def bars_are_drawn() -> bool:
    """Return whether somebody watches, in a terminal or a notebook, and has not asked for warnings only."""
    # Without a command line, as in a user's own program, our level is not set.
    is_quiet = logging.getLogger("bench").level > logging.INFO
    return not is_quiet and (sys.stderr.isatty() or "ipykernel" in sys.modules)


class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """A bar without tqdm's monitor, a daemon thread that may still run while the interpreter shuts down."""

    monitor_interval = 0


class Progress:
    """Shows how much of a piece of work is done.

    Args:
        what: the work.
        total: number of its parts.
        done: number of parts that an earlier call finished.
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
        """Show the number of finished parts, including those of earlier calls."""
        self.done = done
        self.bar.update(done - self.bar.n)
        line = report(self.what, done, self.total, self.unit, self.left.after(done))
        if self.bar.disable and time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            logger.info(line)

    def add(self, count: int) -> None:
        """Show that this many further parts are finished."""
        self.done += count
        self.show(self.done)

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()


class TimeLeft:
    """Estimates the time left from the progress of this process so far.

    Args:
        total: number of parts of the work.
        done: number of parts that an earlier process finished.
    """

    def __init__(self, total: int, done: int) -> None:
        self.total = total
        self.first = done
        self.started = time.monotonic()

    def after(self, done: int) -> str:
        """Return ``, 3 min left``. Empty before this process has finished a part, and at the end."""
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
    """Yield the items, and show how many are finished."""
    progress = Progress(what, total, done, unit)
    for number, item in enumerate(items, start=done + 1):
        yield item
        progress.show(number)
    progress.close()
