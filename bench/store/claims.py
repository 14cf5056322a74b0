"""Claims on pieces of work: which process does a piece now, and which piece a folder's unfinished files belong to."""

from __future__ import annotations

import errno
import json
import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout
from pydantic import RootModel

from bench.errors import UserError
from bench.files.atomic import write_atomically
from bench.store.reading import read_json_as

IDENTITY_NAME = "identity.json"

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
"""Errors of a file system without locks."""

logger = logging.getLogger(__name__)


CACHE_REMEDY = "Set SUPERB_BENCH_CACHE to a folder on another disk."
"""What to do if the cache folder has no locks."""
OUT_REMEDY = "Choose an --out on another disk."
"""What to do if the output folder has none."""


@contextmanager
def claimed(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a claim for as long as the block runs. A process that is killed loses its claims.

    Args:
        path: the lock file; it is left in place, empty.
        wait: wait until another holder ends, and log that; otherwise continue without the claim.

    Yields:
        Whether the claim is held.

    Raises:
        UserError: the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    if not _acquire(lock, blocking=False):
        if not wait:
            yield False
            return
        logger.info("waiting for another process that works on %s", path.stem)
        _acquire(lock, blocking=True)
    try:
        yield True
    finally:
        lock.release()


def require_locks(folder: Path, remedy: str) -> None:
    """Refuse a folder whose file system has no working locks: two processes would do, and undo, the same work.

    Args:
        folder: created if missing.
        remedy: a sentence that says what to do.

    Raises:
        UserError: locks are refused, or do not exclude each other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{uuid.uuid4().hex}.lock"
    first, second = FileLock(path), FileLock(path)
    try:
        if not _acquire(first, blocking=False) or _acquire(second, blocking=False):
            raise UserError(f"Expected working file locks in {folder}. Two processes could hold one lock. {remedy}")
    except NoLocksError as error:
        raise UserError(f"{error} {remedy}") from error
    finally:
        for lock in (second, first):
            lock.release()
        path.unlink(missing_ok=True)


class NoLocksError(UserError):
    """The file system has no locks."""


def _acquire(lock: BaseFileLock, *, blocking: bool) -> bool:
    try:
        lock.acquire(blocking=blocking)
    except Timeout:
        return False
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        raise NoLocksError(
            f"Expected file locks in {Path(lock.lock_file).parent}. Its file system has none ({error})."
        ) from error
    return True


def claim_folder(workdir: Path, identity: Mapping[str, object]) -> None:
    """Tie a folder to one piece of work, so that a resumed run never continues from the checkpoints of other work.

    Args:
        workdir: created if missing.
        identity: plain values; everything that the result depends on.

    Raises:
        UserError: the folder holds other work; the message names the difference.
    """
    path = workdir / IDENTITY_NAME
    wanted = json.loads(json.dumps(identity))
    if not path.exists():
        write_atomically(path, json.dumps(wanted, indent=1) + "\n")
        return
    remedy = f"Remove {workdir}."
    found = read_json_as(_Identity, path, "the identity of the work", remedy).root
    if found != wanted:
        different = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
        raise UserError(
            f"Expected unfinished work of this very configuration in {workdir}. Found another: "
            f"{', '.join(different)} differ. Choose another output folder, or remove this one."
        )


class _Identity(RootModel[dict[str, Any]]):
    """The stored form of the identity in `claim_folder`."""
