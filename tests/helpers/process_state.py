"""Undo what `bench.cli.main` does to its process, so that tests can call it."""

from __future__ import annotations

import contextlib
import logging
import signal
import warnings
from collections.abc import Iterator

from bench.errors import forget_interrupts
from bench.stopping import STOP_SIGNAL, forget_request

LOGGERS = ("", "bench", "compressors", "tasks", "lightning", "lightning.pytorch")


@contextlib.contextmanager
def restored_process() -> Iterator[None]:
    """Restore log levels and handlers, signals and warnings on leaving."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(each, each.level, each.propagate, each.handlers[:]) for each in loggers]
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, STOP_SIGNAL)}
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for each, level, propagate, handlers in before:
            each.setLevel(level)
            each.propagate = propagate
            each.handlers[:] = handlers
        for number, handler in signals.items():
            signal.signal(number, handler)
        forget_request()
        forget_interrupts()
