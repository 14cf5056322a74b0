"""The size of the feature cache, and space for more features."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cache_folder import cache_root
from bench.errors import UserError
from bench.store.claims import claimed
from tasks.feature_cache.growth import Growth, growing, growths
from tasks.feature_cache.store import ABOUT

logger = logging.getLogger(__name__)

SPARE_BYTES = 200_000_000
"""Space to leave free on the disk."""


def features_root() -> Path:
    """Return the folder of all feature stores."""
    return cache_root() / "features"


@dataclass(frozen=True)
class Holding:
    """One store on disk."""

    folder: Path
    num_bytes: int
    last_used_s: float
    """Seconds since the epoch."""
    about: Mapping[str, str]
    """Description of the store; empty if it is missing or unreadable."""


def holdings(root: Path) -> list[Holding]:
    """List the stores, least recently used first."""
    found = []
    for folder in (path for path in root.glob("*") if path.is_dir()):
        # Another process may have removed it.
        with contextlib.suppress(FileNotFoundError):
            about = folder / ABOUT
            last_used_s = (about if about.is_file() else folder).stat().st_mtime
            found.append(Holding(folder, folder_bytes(folder), last_used_s, _read_about(about)))
    return sorted(found, key=lambda holding: holding.last_used_s)


def folder_bytes(folder: Path) -> int:
    """Add up the sizes of all files below a folder. Files that another process removes meanwhile count as empty."""
    return sum(_size(Path(top) / name) for top, _, names in os.walk(folder) for name in names)


def prune(root: Path, keep_bytes: int, spare: Collection[Path] = ()) -> int:
    """Remove the least recently used stores until at most ``keep_bytes`` are left, never those in ``spare``.

    If this user may not remove a store, the next one is removed instead.

    Returns:
        Bytes freed.
    """
    stores = holdings(root)
    excess = sum(store.num_bytes for store in stores) - keep_bytes
    freed = 0
    for store in stores:
        if freed < excess and store.folder not in spare:
            shutil.rmtree(store.folder, ignore_errors=True)
            freed += store.num_bytes - folder_bytes(store.folder)
    return freed


@contextmanager
def room_to_grow(
    folder: Path, still_needed_bytes: Callable[[], int], limit_bytes: int | None
) -> Iterator[Callable[[int], None]]:
    """Reserve space for a store. Removes other stores if a limit requires it, and waits for stores that are growing.

    Processes that compute features at the same time, on all machines that share the file system's locks, never count
    on the same space. Other programs may still fill the disk.

    Args:
        folder: the store to grow; it need not exist, and may be pruned while this waits.
        still_needed_bytes: returns the space needed; called again after waiting, as others may have written features.
        limit_bytes: the most that all stores together may hold. None: limited by the disk only.

    Yields:
        A function to call with the number of bytes written.

    Raises:
        UserError: it does not fit.
    """
    with ExitStack() as held:
        while True:
            # In this order, so that features added between the two calls are not counted twice.
            kept_bytes = folder_bytes(folder)
            needed_bytes = still_needed_bytes()
            with claimed(folder.parent / "room.lock", wait=True):
                others = growths(folder.parent)
                if not needed_bytes or _make_room(folder, kept_bytes, needed_bytes, limit_bytes, others):
                    written = held.enter_context(growing(folder, needed_bytes))
                    break
            logger.info("features: waiting for space within --cache-limit until another process has written its own")
            with claimed(others[0].lock, wait=True):
                continue
        yield written


def free_for_features(folder: Path) -> int:
    """Measure the disk space that a store could take, if no other grew. The folder need not exist."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return max(0, shutil.disk_usage(existing).free - SPARE_BYTES)


def _make_room(
    folder: Path, kept_bytes: int, needed_bytes: int, limit_bytes: int | None, others: Sequence[Growth]
) -> bool:
    """Make space for a store of ``kept_bytes`` to grow by ``needed_bytes`` while others grow too.

    Returns:
        True on success. False if the other stores must be complete first, so that they can be removed.
    """
    promised = sum(growth.num_bytes for growth in others)
    if limit_bytes is not None:
        if kept_bytes + needed_bytes > limit_bytes:
            raise UserError(
                f"Expected features of at most {limit_bytes / 1e9:.3g} GB (--cache-limit). These need "
                f"{(kept_bytes + needed_bytes) / 1e9:.3g} GB. Raise the limit, or use --protocol s3prl, which stores "
                "none."
            )
        keep_bytes = limit_bytes - needed_bytes - promised
        freed = prune(folder.parent, keep_bytes, spare={folder, *(growth.folder for growth in others)})
        if freed:
            logger.info("features: removed %.3g GB of other upstreams (--cache-limit)", freed / 1e9)
        if others and sum(store.num_bytes for store in holdings(folder.parent)) > keep_bytes:
            return False
    free = shutil.disk_usage(folder.parent).free - SPARE_BYTES - promised
    if needed_bytes > free:
        raise UserError(
            f"Expected {needed_bytes / 1e9:.3g} GB for features in {folder.parent}. Found {max(0, free) / 1e9:.3g} GB "
            f"free{', not counting what other processes will write' if promised else ''}. Delete some of its folders, "
            "set SUPERB_BENCH_CACHE to a larger disk, or use --protocol s3prl."
        )
    return True


def _read_about(path: Path) -> dict[str, str]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: str(value) for name, value in about.items()} if isinstance(about, dict) else {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        # Another process has just moved or removed it.
        return 0
