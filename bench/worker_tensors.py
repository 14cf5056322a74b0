"""How data-loading workers send tensors where shared memory is too small for the batches in flight."""

from __future__ import annotations

import functools
import logging
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch.multiprocessing import reductions

logger = logging.getLogger(__name__)


def send_without_shared_memory() -> None:
    """Let this process and its workers send a tensor as bytes wherever it does not fit into shared memory.

    Torch's own way loses such a batch, and the main process waits for it for ever. Docker gives 64 MB.
    """
    ForkingPickler.register(torch.UntypedStorage, _reduce)


def _reduce(storage: torch.UntypedStorage) -> Any:
    try:
        torchs_own: Any = reductions.reduce_storage
        return torchs_own(storage)
    except RuntimeError:
        if storage.device.type != "cpu":
            raise
        return _storage, (torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes(),)


def _storage(content: bytes) -> torch.UntypedStorage:
    # Here, in the process that receives, because epochs and splits start workers of their own.
    _report_once()
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).untyped_storage()


@functools.cache
def _report_once() -> None:
    logger.warning(
        "shared memory (/dev/shm) is full: batches take the slower way through a pipe. Enlarge it "
        "(docker run --shm-size=2g), or choose fewer num_workers."
    )
