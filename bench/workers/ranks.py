"""The processes that train together, one per device: which one this is, and what they exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
from torch import distributed
from torch._C._distributed_c10d import Store

PATIENCE = timedelta(days=30)
"""How long a process waits for the others: the first one may compute units for days. A process that has died is noticed
at once, by its closed connections."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Rank:
    """One of the processes that train together."""

    number: int = 0
    """From 0. The first one writes, logs, and does what is done once."""
    count: int = 1
    """Number of the processes."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and logs."""
        return self.number == 0


_ALONE = Rank()
_current: ContextVar[Rank] = ContextVar("rank", default=_ALONE)


def current_rank() -> Rank:
    """Return the rank of this process; the only one of one process outside common work."""
    return _current.get()


@contextmanager
def working_as(rank: Rank) -> Iterator[None]:
    """Take part in common work, as one of the processes of `process_group`."""
    token = _current.set(rank)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def process_group(rank: Rank, device: Literal["cpu", "cuda"], number_here: int, store: Store) -> Iterator[None]:
    """Connect this process with the others, and choose its GPU.

    Args:
        rank: this process.
        device: kind of device.
        number_here: number of this process among those of its machine.
        store: where the processes meet.
    """
    backend = "gloo"
    if device == "cuda":
        # A scheduler may show each process its own GPU alone.
        torch.cuda.set_device(number_here % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend, store=store, rank=rank.number, world_size=rank.count, timeout=PATIENCE)
    yield
    # Not after a failure, which this process must report before the others lose it.
    distributed.destroy_process_group()


def from_first(make: Callable[[], Result]) -> Result:
    """Return what the first process makes. The other processes wait for it, and get a copy.

    Args:
        make: called in the first process only. Its result must be small and picklable.
    """
    rank = current_rank()
    return shared(make() if rank.is_first else None) if rank.count > 1 else make()


def shared(value: Any) -> Any:
    """Send a value of the first process to all others, and return it."""
    held = [value]
    distributed.broadcast_object_list(held, src=0)
    return held[0]


@contextmanager
def first_goes_first() -> Iterator[None]:
    """Let the first process do the block before the others, which then find its files."""
    rank = current_rank()
    if not rank.is_first:
        shared(None)
    yield
    if rank.is_first and rank.count > 1:
        shared(None)
