"""Errors of one item: kept, unless they stand for the user's interrupt."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bench.errors import forget_interrupts, note_interrupt
from bench.runs.failures import Failures
from bench.store.run_folder import RunFolder


def raise_in_cleanup(original: type[BaseException]) -> None:
    """Do what libraries do whose clean-up fails while another error is on its way."""
    try:
        raise original
    finally:
        raise AttributeError("cleaning up")


@pytest.fixture
def failures(tmp_path: Path) -> Failures:
    (tmp_path / "config.yaml").touch()
    return Failures(RunFolder(tmp_path))


def test_an_interrupt_that_ends_in_another_error_is_no_failure(failures: Failures, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        failures.guard("a cell", lambda: raise_in_cleanup(KeyboardInterrupt), "cell")
    assert not list(tmp_path.rglob("*.txt"))


def test_an_error_in_the_cleanup_of_another_is_a_failure(failures: Failures, tmp_path: Path) -> None:
    assert failures.guard("a cell", lambda: raise_in_cleanup(ValueError), "cell") is None
    assert [note.read_text().splitlines()[-1] for note in tmp_path.rglob("*.txt")] == ["AttributeError: cleaning up"]


def test_an_interrupt_that_native_code_drops_is_no_failure(failures: Failures) -> None:
    def work() -> None:
        note_interrupt(signal.SIGINT)
        raise ValueError("could not determine the shape")

    try:
        with pytest.raises(KeyboardInterrupt):
            failures.guard("a cell", work, "cell")
    finally:
        forget_interrupts()
