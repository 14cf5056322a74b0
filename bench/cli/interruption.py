"""Ctrl-C and SIGTERM: both end a command in the same way."""

from __future__ import annotations

import atexit
import os
import signal
from types import FrameType
from typing import NoReturn

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


def end_process() -> NoReturn:
    """End an interrupted process without taking the interpreter and the native libraries apart.

    An interrupt leaves work half done: threads of OpenMP, BLAS and data loading may be alive, and so may the objects
    that they use, held by the traceback. Static destructors of those libraries and the end of daemon threads then run
    at the same time, and can abort the process with a corrupted heap. Nothing is lost without them: files are written
    atomically, and the system frees locks and memory. Python's own exit functions still run, since they end worker
    processes and remove temporary folders.
    """
    atexit._run_exitfuncs()
    os._exit(EXIT_INTERRUPTED)
