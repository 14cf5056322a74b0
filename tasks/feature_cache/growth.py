"""Disk space that running processes reserve for features, so that no two count on the same space."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.files.atomic import write_atomically
from bench.store.claims import claimed


@dataclass(frozen=True)
class Growth:
    """Features that a process is writing."""

    lock: Path
    """The process holds this lock while it writes."""
    folder: Path
    """The store that grows."""
    num_bytes: int
    """Still to be written."""


@contextmanager
def growing(folder: Path, num_bytes: int) -> Iterator[Callable[[int], None]]:
    """Reserve space for a store within the block. A killed process loses its reservation.

    Yields:
        A function to call with the number of bytes written, which shrinks the reservation.
    """
    lock = folder.parent / f"growing-{uuid.uuid4().hex}.lock"
    note = lock.with_suffix(".json")
    left = num_bytes

    def written(size_bytes: int) -> None:
        nonlocal left
        left = max(0, left - size_bytes)
        write_atomically(note, json.dumps({"folder": folder.name, "num_bytes": left}))

    with claimed(lock, wait=True):
        try:
            written(0)
            yield written
        finally:
            _forget(lock)


def growths(root: Path) -> list[Growth]:
    """List the reservations of running processes, and remove those of killed ones."""
    found = []
    for lock in sorted(root.glob("growing-*.lock")):
        with claimed(lock, wait=False) as is_abandoned:
            if is_abandoned:
                _forget(lock)
        try:
            note = json.loads(lock.with_suffix(".json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            # The process has ended.
            continue
        found.append(Growth(lock, root / note["folder"], note["num_bytes"]))
    return found


def _forget(lock: Path) -> None:
    lock.with_suffix(".json").unlink(missing_ok=True)
    lock.unlink(missing_ok=True)
