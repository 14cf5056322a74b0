"""Who works on an item: the lock file of a claim names its holder, and how far the holder is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ValidationError

from bench.store.claims import claimed

SECONDS_BETWEEN_NOTES = 2.0


class Holder(BaseModel):
    """The process that holds a claim, as its lock file describes it."""

    host: str | None = None
    """None if the lock file does not say, as with earlier versions of this program."""
    pid: int | None = None
    since: AwareDatetime | None = None
    """When it took the claim, in UTC."""
    progress: str | None = None
    """How far it is, in words."""


class Claim:
    """A claim that this process holds.

    Args:
        path: the lock file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._holder = Holder(
            host=platform.node(), pid=os.getpid(), since=datetime.now(timezone.utc).replace(microsecond=0)
        )
        self._noted = -SECONDS_BETWEEN_NOTES
        self._write(self._holder.model_dump_json())

    def note(self, progress: str) -> None:
        """Write down how far the work is, at most every two seconds."""
        if time.monotonic() - self._noted >= SECONDS_BETWEEN_NOTES:
            self._noted = time.monotonic()
            self._write(self._holder.model_copy(update={"progress": progress}).model_dump_json())

    def clear(self) -> None:
        """Empty the lock file; it stays behind."""
        self._write("")

    def _write(self, text: str) -> None:
        # In place, because the lock is on this very file. Only `bench status` reads it, so a full disk is no failure.
        with contextlib.suppress(OSError), self._path.open("r+", encoding="utf-8") as file:
            file.write(text)
            file.truncate()


@contextmanager
def claimed_by_name(path: Path) -> Iterator[Claim | None]:
    """Take a claim for as long as the block runs, and name its holder in the lock file.

    Args:
        path: the lock file.

    Yields:
        The claim; None if another process holds it.
    """
    with claimed(path, wait=False) as is_mine:
        if not is_mine:
            yield None
            return
        claim = Claim(path)
        try:
            yield claim
        finally:
            claim.clear()


def holder_of(path: Path) -> Holder | None:
    """Return who holds a claim now; None if nobody does, whatever the file says.

    Reading needs no write access. A process that tries to take the claim at the same instant fails and must try again.
    """
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _parsed(file.read())
            return None
    except FileNotFoundError:
        return None


def last_holder(path: Path) -> Holder | None:
    """Return who has held a claim last, if that process was killed; None if it has ended well.

    If somebody holds the claim now, this is its holder.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return _parsed(content) if content else None


def _parsed(content: bytes) -> Holder:
    try:
        return Holder.model_validate_json(content)
    except ValidationError:
        # Empty in the instant before the holder writes.
        return Holder()
