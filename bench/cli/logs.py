"""Log lines on standard error: one per message, above the progress bar, from our own packages only."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.terminal import streams

OUR_LOGGERS = ("bench", "compressors", "tasks")


class LineHandler(logging.Handler):
    """Writes each record as one line of printable characters, without tearing a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        with _bars_set_aside():
            streams.say(self.format(record))


def quiet_libraries() -> None:
    """Show our own log lines on standard error, and hide those of libraries."""
    debug = "--debug" in sys.argv
    handler = LineHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger().addHandler(logging.NullHandler())
    for name in OUR_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.DEBUG if debug else logging.INFO)
        logger.propagate = False
    if not debug:
        warnings.simplefilter("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")  # for worker processes
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read when torch is imported
        logging.getLogger("lightning").setLevel(logging.ERROR)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def set_level(level: int) -> None:
    """Set the level of our log lines. Progress bars are drawn if the level is INFO or lower."""
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(level)


@contextmanager
def _bars_set_aside() -> Iterator[None]:
    # If tqdm was never imported, no bar is drawn.
    tqdm: Any = sys.modules.get("tqdm")
    if tqdm is None or not hasattr(tqdm, "tqdm"):
        yield
        return
    with tqdm.tqdm.external_write_mode(file=sys.stderr):
        yield
