"""Claims on pieces of work, so that several processes may share a run's folder without doing one piece twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


@contextmanager
def claimed(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a claim for as long as the block runs; a killed process loses its claims with its life.

    Args:
        path: the lock file; it stays behind, empty.
        wait: wait for another holder to end, and say so; else go on without.

    Yields:
        Whether the claim is held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not wait:
            yield False
            return
        logger.info("waiting for another process that works on %s", path.stem)
        lock.acquire()
    try:
        yield True
    finally:
        lock.release()
