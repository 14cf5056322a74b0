"""Training batches of a resumed epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any


class ResumableBatches:
    """A batch sampler that can leave out the batches of an epoch that was already begun."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches
        self._epoch = 0
        self._resumed = (-1, 0)

    def resume(self, epoch: int, num_batches: int) -> None:
        """Skip what training took before it was interrupted, epochs of equal length assumed."""
        self._resumed = (epoch, num_batches - epoch * len(self._batches))

    def set_epoch(self, epoch: int) -> None:
        """Order the batches as s3prl does in this epoch."""
        self._epoch = epoch
        if hasattr(self._batches, "set_epoch"):
            self._batches.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, skipped = self._resumed
        # Not list(self._batches): that asks for the length first, which draws an order of the epoch and drops it.
        yield from itertools.islice(iter(self._batches), skipped if epoch == self._epoch else 0, None)

    def __len__(self) -> int:
        return sum(1 for _ in self)
