"""Turns errors and signals of worker processes into those of this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bench.errors import UserError


def leave_signals_to_parent(_worker: int) -> None:
    """Take a worker out of the process group, because a signal to the group would end workers before their parent.

    A worker still ends with its parent, or within seconds of its death.
    """
    os.setpgrp()


@contextmanager
def plain_reader_errors() -> Iterator[None]:
    """Unwrap errors and signals that torch's data loader has wrapped.

    Raises:
        UserError: a worker's own error in one line, or the message that a worker was killed.
        KeyboardInterrupt: SIGTERM or Ctrl-C ended a worker before this process.
    """
    try:
        yield
    except UserError as error:
        # A worker wraps the message into its traceback, as the last line.
        raise type(error)(str(error).strip().splitlines()[-1].removeprefix("bench.errors.UserError: ")) from error
    except RuntimeError as error:
        told = " ".join(_messages(error))
        if "DataLoader worker" not in told:
            raise
        if any(signal in told for signal in ("Terminated", "Interrupt")):
            raise KeyboardInterrupt from error
        raise UserError(
            "Expected the processes that read audio to finish. Found one that was killed, which happens when memory or "
            "/dev/shm runs out. Run the same command again to resume, with a lower num_workers, such as 0."
        ) from error


def _messages(error: BaseException | None) -> Iterator[str]:
    """Yield the messages of an error and of its causes."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__
