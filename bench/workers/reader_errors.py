"""Errors and signals of the processes that read audio, as if this process had read it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bench.errors import UserError


def leave_signals_to_parent(_worker: int) -> None:
    """Take a reader out of the process group: a signal to all of it would end readers before their parent.

    A reader ends with its parent all the same, or within seconds of its death.
    """
    os.setpgrp()


@contextmanager
def plain_reader_errors() -> Iterator[None]:
    """Undo what torch's data loader makes of errors and signals.

    Raises:
        UserError: a reader's own, in one line, or that a reader was killed.
        KeyboardInterrupt: SIGTERM or Ctrl-C ended a reader before this process.
    """
    try:
        yield
    except UserError as error:
        # A reader wraps the message into its traceback, of which it is the last line.
        raise type(error)(str(error).strip().splitlines()[-1].removeprefix("bench.errors.UserError: ")) from error
    except RuntimeError as error:
        told = " ".join(_messages(error))
        if "DataLoader worker" not in told:
            raise
        if any(signal in told for signal in ("Terminated", "Interrupt")):
            raise KeyboardInterrupt from error
        raise UserError(
            "Expected the processes that read audio to end well. Found one that was killed, as where memory or "
            "/dev/shm runs out. Run the same command again to go on, with a lower num_workers, such as 0."
        ) from error


def _messages(error: BaseException | None) -> Iterator[str]:
    """Yield what an error says, and all that led to it."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__
