"""Ctrl-C and SIGTERM: both end a command in the same way."""

from __future__ import annotations

import atexit
import os
import signal
from types import FrameType
from typing import NoReturn

from bench.errors import forget_interrupts, note_interrupt

EXIT_INTERRUPTED = 130
MESSAGE = "interrupted: run the same command again to go on where it stopped"


def raise_on_sigterm() -> None:
    """Make SIGTERM raise `KeyboardInterrupt`, as Ctrl-C does, in this process only."""
    owner = os.getpid()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        note_interrupt(number)
        if os.getpid() != owner:  # a forked worker, which its parent ends with SIGTERM
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise KeyboardInterrupt

    forget_interrupts()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, interrupt)


def ignore_further() -> None:
    """Ignore further requests to stop while the process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def end_process() -> NoReturn:
    """End an interrupted process without shutting down the interpreter and the native libraries.

    After an interrupt, threads of OpenMP, BLAS and data loading may still run, and the traceback may hold the objects
    that they use. A normal exit runs the libraries' static destructors while daemon threads end, which can abort the
    process with a corrupted heap. Skipping this loses nothing: files are written atomically, and the system frees locks
    and memory. Python's own exit functions still run, since they end worker processes and remove temporary folders.
    """
    atexit._run_exitfuncs()
    os._exit(EXIT_INTERRUPTED)
