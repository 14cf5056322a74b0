"""Environment variables that other libraries read without a check that users would understand."""

from __future__ import annotations

import os

from bench.errors import UserError
from bench.text import shortened

THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
MAX_THREADS = 4_096


def check_environment() -> None:
    """Refuse numbers of threads that are no numbers: libraries ignore them with a remark of their own, or end.

    Raises:
        UserError: the first such variable.
    """
    for name in THREAD_COUNTS:
        text = os.environ.get(name, "").strip()
        # OpenMP takes one number for each level of nested regions.
        if text and not all(_is_count(part.strip()) for part in text.split(",")):
            raise UserError(
                f"Expected a number of threads from 1 to {MAX_THREADS:,} in the environment variable {name}. Found "
                f"{shortened(repr(text), 40)}. Correct it, or unset it."
            )


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_THREADS
