"""Fuzz tests: whatever a parser reads, it returns or raises one short `UserError`, soon and in little memory.

A fuzz module names a parser, a hypothesis strategy for its input, and known bad inputs::

    @pytest.mark.parametrize("profile", PROFILES)
    def test_sizes(profile: str) -> None:
        fuzz(lambda text: parse_size(text, "--cache-limit"), st.text(), profile, examples=["1e999"])

The default run draws the same inputs every time; ``pytest -m slow tests/fuzz`` draws more, and others each time.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

# Libraries take address space when they are loaded, which is not an input's fault.
import torch  # noqa: F401
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from bench.errors import UserError
from bench.text import printable

PROFILES = [pytest.param("fixed"), pytest.param("fresh", marks=[pytest.mark.slow, pytest.mark.random])]

_COMMON = settings(
    database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, report_multiple_bugs=False
)
_SETTINGS = {
    "fixed": settings(_COMMON, derandomize=True, max_examples=40),
    "fresh": settings(_COMMON, derandomize=False, max_examples=2_000),
}

LONGEST_LINE = 400
"""Characters of an error line, with ``error: `` before it."""
TIME_LIMIT_S = 5.0
MEMORY_LIMIT_BYTES = 500 * 10**6
"""What one call may add to the memory of the process."""


def fuzz(
    action: Callable[[Any], object],
    inputs: SearchStrategy[Any],
    profile: str,
    *,
    examples: Sequence[Any] = (),
    max_examples: int | None = None,
) -> None:
    """Run an action on known and on generated inputs; each must end as `ends_well` says.

    Args:
        action: what is tested.
        inputs: what hypothesis draws from.
        profile: one of `PROFILES`.
        examples: inputs that are always tried.
        max_examples: how many to draw in the default run, if not 40.
    """
    for example in examples:
        ends_well(action, example)
    chosen = _SETTINGS[profile]
    if max_examples is not None and profile == "fixed":
        chosen = settings(chosen, max_examples=max_examples)

    @chosen
    @given(inputs)
    def run(value: Any) -> None:
        ends_well(action, value)

    run()


def ends_well(action: Callable[[Any], object], value: Any) -> str | None:
    """Require that an action returns, or raises a `UserError` of one short line, within bounds of time and memory.

    Returns:
        The error's message, or None if the action returned.
    """
    try:
        with limited():
            action(value)
    except UserError as error:
        message = error_line(error)
        assert message.isprintable(), f"unprintable characters in {message!r}"
        assert len(message) <= LONGEST_LINE, f"{len(message)} characters: {message}"
        return message
    return None


def error_line(error: UserError) -> str:
    """Return the line that the command line prints for an error."""
    return printable(f"error: {' '.join(str(error).split())}")


@contextlib.contextmanager
def limited(time_limit_s: float = TIME_LIMIT_S, memory_limit_bytes: int = MEMORY_LIMIT_BYTES) -> Iterator[None]:
    """Stop what takes too long with TimeoutError, and what takes too much memory with MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    # Other systems than Linux do not tell how much address space a process has.
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_address_space_bytes() + memory_limit_bytes, hard))
    before = signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, time_limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def _out_of_time(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError("this input takes too long")
