"""A request to stop soon, such as before the time limit of a cluster's job: work saves its progress first."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

from bench.errors import note_interrupt

_requests: list[int] = []

STOP_SIGNAL = signal.SIGUSR2
"""Asks a process to stop soon."""


def stop_when_asked() -> None:
    """Let `STOP_SIGNAL` request a stop in this process. By default it would kill the process."""
    forget_request()
    if signal.getsignal(STOP_SIGNAL) is signal.SIG_DFL:
        signal.signal(STOP_SIGNAL, _request)


def is_stop_requested() -> bool:
    """Whether work should save its progress now and then call `stop_if_requested`."""
    return bool(_requests)


def stop_if_requested() -> None:
    """End the work as Ctrl-C does if a stop was requested. Call it when the progress is saved.

    Raises:
        KeyboardInterrupt: a stop was requested.
    """
    if _requests:
        stop()


def stop() -> NoReturn:
    """End the work as Ctrl-C does.

    Raises:
        KeyboardInterrupt: always.
    """
    # Libraries may replace the exception by one of their own.
    note_interrupt(STOP_SIGNAL)
    raise KeyboardInterrupt


def forget_request() -> None:
    """Begin a command that nothing has asked to stop yet."""
    _requests.clear()


def _request(number: int, _frame: FrameType | None) -> None:
    _requests.append(number)
