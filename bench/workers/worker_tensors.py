"""Lets data-loading workers send tensors if shared memory is too small for the batches in flight."""

from __future__ import annotations

import functools
import logging
import shutil
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing import reductions

from bench.errors import UserError

logger = logging.getLogger(__name__)


SHARED_MEMORY = Path("/dev/shm")
RESERVE_BYTES = 2**24
"""Space to leave free for the locks of further workers; at most half of the total."""
LOCKS_BYTES = 2**18
"""Space for the locks of some workers."""


def prepare_workers(num_workers: int) -> None:
    """Let data-loading workers send a tensor as bytes if it does not fit into shared memory.

    Torch itself loses such a batch, and the main process waits for it forever. Docker gives 64 MB.

    Raises:
        UserError: there is no space even for their locks.
    """
    if num_workers and not _fits(LOCKS_BYTES, reserve_bytes=0):
        raise UserError(
            f"Expected room for the locks of {num_workers} data-loading workers. {SHARED_MEMORY} is full. Enlarge it "
            "(docker run --shm-size=2g), remove files of other programs from it, or set num_workers to 0 with --set."
        )
    ForkingPickler.register(torch.UntypedStorage, _reduce)


def _fits(num_bytes: int, reserve_bytes: int) -> bool:
    # Other systems have no such folder, and no such limit.
    if not SHARED_MEMORY.is_dir():
        return True
    usage = shutil.disk_usage(SHARED_MEMORY)
    return num_bytes <= usage.free - min(reserve_bytes, usage.total // 2)


def _reduce(storage: torch.UntypedStorage) -> Any:
    if storage.device.type != "cpu" or _fits(storage.nbytes(), RESERVE_BYTES):
        torchs_own: Any = reductions.reduce_storage
        try:
            return torchs_own(storage)
        except RuntimeError:
            # Another process has filled shared memory since the check.
            if storage.device.type != "cpu":
                raise
    return _storage, (torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes(),)


def _storage(content: bytes) -> torch.UntypedStorage:
    # Report in the receiving process, because epochs and splits start new workers.
    _report_once()
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).untyped_storage()


@functools.cache
def _report_once() -> None:
    logger.warning(
        "shared memory (/dev/shm) is full: batches go through a pipe, which is slower. Enlarge it "
        "(docker run --shm-size=2g), or choose fewer num_workers."
    )
