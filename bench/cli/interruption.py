"""Ctrl-C and SIGTERM: both end a command in the same way."""

from __future__ import annotations

import os
import signal
from types import FrameType

EXIT_INTERRUPTED = 130
MESSAGE = "interrupted: run the same command again to go on where it stopped"


def raise_on_sigterm() -> None:
    """Let SIGTERM raise `KeyboardInterrupt`, as Ctrl-C does, in this process alone."""
    owner = os.getpid()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker that was forked, which whoever started it ends so
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, interrupt)


def ignore_further() -> None:
    """Let the process end in peace, whoever asks for it again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
