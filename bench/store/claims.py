"""Claims on pieces of work: which process does one now, and which one a folder's unfinished files belong to."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bench.errors import UserError
from bench.files import write_atomically

IDENTITY_NAME = "identity.json"

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


def claim_folder(workdir: Path, identity: Mapping[str, object]) -> None:
    """Tie a folder to one piece of work, so that a resumed run never goes on with another's checkpoints.

    Args:
        workdir: made if missing.
        identity: plain values; everything that the result depends on.

    Raises:
        UserError: the folder holds other work; what differs is named.
    """
    path = workdir / IDENTITY_NAME
    wanted = json.loads(json.dumps(identity))
    if not path.exists():
        write_atomically(path, json.dumps(wanted, indent=1) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"Expected the identity of the work in {path}. Found no JSON ({error}). Remove {workdir}."
        ) from error
    if found != wanted:
        different = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
        raise UserError(
            f"Expected unfinished work of this very configuration in {workdir}. Found another: "
            f"{', '.join(different)} differ. Choose another output folder, or remove this one."
        )
