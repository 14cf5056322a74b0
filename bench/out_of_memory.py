"""Detects out-of-memory errors, and names the recording that caused them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.text import shortened

MARKS = ("DefaultCPUAllocator: can't allocate", "DefaultCPUAllocator: not enough memory", "std::bad_alloc")
"""Texts in torch's errors of type RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the machine or a GPU ran out of memory."""
    if isinstance(error, MemoryError):
        return True
    torch: Any = sys.modules.get("torch")
    if torch is None or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.OutOfMemoryError) or any(mark in str(error) for mark in MARKS)


def out_of_memory_line(error: BaseException) -> str:
    """Say what to do if no recording is known to be the cause."""
    reason = shortened(" ".join(str(error).split()) or "allocation failed")
    return (
        f"Expected enough memory. Found too little ({reason}). Free some, or use shorter audio (max_duration_s), "
        "smaller batches or a smaller model."
    )


@contextmanager
def naming_recording(path: str | Path, duration_s: float) -> Iterator[None]:
    """Name the recording whose hidden states need more memory than there is.

    Raises:
        UserError: replaces torch's and Python's errors.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"Expected enough memory for {shortened(str(path), 160)}, of {duration_s:.3g} s. Found too little: "
            "attention's memory grows with the square of the length. Cut the recording, leave it out, or free memory."
        ) from error
