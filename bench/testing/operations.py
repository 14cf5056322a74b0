"""Work counted in calls of torch's functions, the same on every machine, and processes stopped in the middle."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

STOPPED = 75
"""Exit code of a process that was stopped on purpose."""


class TooManyOperationsError(Exception):
    """A call does more work than it should."""


class OperationCounter(TorchFunctionMode):
    """Counts the calls of torch's functions, and calls a function when there are too many."""

    def __init__(self, limit: int | None = None, at_limit: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.count = 0
        self.limit = limit
        self.at_limit = at_limit or _give_up

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if self.count == self.limit:
            self.at_limit()
        self.count += 1
        return func(*args, **(kwargs or {}))


def stop_after(num_operations: int, call: Callable[[], object]) -> None:
    """Make a call in a separate process, which exits after this many operations without any cleanup.

    Args:
        num_operations: calls of torch's functions.
        call: can be pickled, such as a ``functools.partial`` of a method of a dataclass.

    Raises:
        AssertionError: the process ended otherwise.
    """
    # As many threads as here, because another number may change the rounding of sums.
    arguments = (num_operations, call, torch.get_num_threads())
    process = multiprocessing.get_context("spawn").Process(target=_run_and_stop, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == STOPPED, (
        f"Expected the call to take more than {num_operations} operations of torch in a process of its own, as it does "
        f"in this one. Found it ended with exit code {process.exitcode}; see standard error."
    )


def _give_up() -> None:
    raise TooManyOperationsError


def _run_and_stop(num_operations: int, call: Callable[[], object], num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    with OperationCounter(num_operations, lambda: os._exit(STOPPED)):
        call()
