"""Handles standard output and standard error that are closed, full, a pipe without a reader, or not UTF-8."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from bench.text import printable, shortened

LONGEST_LINE = 400
"""Most characters per line on standard error."""


def prepare() -> None:
    """Make both streams usable: open closed ones, and replace characters that their encoding lacks."""
    for descriptor in (0, 1, 2):
        _open_if_closed(descriptor)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - a descriptor
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def write_result(text: str) -> None:
    """Write results to standard output. They may contain our own escape sequences.

    If the reader has closed the pipe, as ``head`` does, the command continues unchanged.

    Raises:
        OSError: the disk is full.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout.fileno())


def print_line(text: object = "") -> None:
    """Print a line of results."""
    write_result(printable(str(text)) + "\n")


def say(text: str) -> None:
    """Write one line to standard error. Errors are ignored, because then nobody can read it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(shortened(printable(" ".join(text.split())), LONGEST_LINE) + "\n")
        sys.stderr.flush()


def finish() -> None:
    """Write buffered output.

    Raises:
        OSError: the disk is full.
    """
    write_result("")


def abandon() -> None:
    """Drop output that cannot be written, so that Python does not try again when it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            discard(stream.fileno())


def discard(descriptor: int) -> None:
    """Redirect a descriptor to the null device."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == descriptor:  # `open` takes the lowest free number, which the closed stream had
        os.set_inheritable(descriptor, True)
        return
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _open_if_closed(descriptor: int) -> None:
    # Otherwise the next opened file gets this number, and libraries that print write into it.
    try:
        os.fstat(descriptor)
    except OSError:
        discard(descriptor)
