"""Processes that train together: they meet, and fail as one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from torch import distributed

from bench.errors import TrainingError, UserError
from bench.progress import report, reported_to
from bench.workers.ranks import current_rank, first_goes_first, from_first
from bench.workers.together import run_together


def _note(folder: Path) -> None:
    rank = current_rank()
    name = from_first(lambda: f"of-{rank.number}")
    with first_goes_first():
        was_first = not any(folder.iterdir())
        (folder / f"{name}-{rank.number}").write_text(f"{rank.count} {was_first}")


def _fail_alone(how: str) -> None:
    if distributed.get_rank() == 0:
        distributed.barrier()
        time.sleep(600)
    if how == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise UserError("Expected luck. Found none.") if how == "user error" else MemoryError("too much")


def _diverge() -> None:
    raise TrainingError("Expected a loss that falls. Found another.")


def _progress() -> None:
    report("stage joint", 3 + current_rank().number, 8, "updates")
    time.sleep(1.5)


def _fail_at_length(error: type[Exception]) -> None:
    raise error("x" * 1_000_000)


@pytest.mark.slow
class TestProcesses:
    def test_all_run_and_the_first_goes_first(self, tmp_path: Path) -> None:
        run_together(3, "cpu", partial(_note, tmp_path))
        found = {path.name: path.read_text() for path in tmp_path.iterdir()}
        assert found == {"of-0-0": "3 True", "of-0-1": "3 False", "of-0-2": "3 False"}

    @pytest.mark.parametrize(
        ("how", "line"),
        [
            ("user error", r"^Expected luck. Found none.$"),
            (
                "bug",
                r"number 1 stopped by MemoryError: too much\b.*checkpoint",
            ),
            ("killed", r"number 1 ended by SIGKILL"),
        ],
    )
    def test_one_that_fails_ends_the_others_with_its_own_line(self, how: str, line: str) -> None:
        start = time.monotonic()
        with pytest.raises(UserError, match=line) as caught:
            run_together(2, "cpu", partial(_fail_alone, how))
        assert time.monotonic() - start < 120
        assert "\n" not in str(caught.value)
        assert not [process for process in multiprocessing.active_children() if process.name.startswith("Spawn")]

    def test_sigterm_to_one_of_them_ends_all_as_ctrl_c_does(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            run_together(2, "cpu", partial(_fail_alone, "terminated"))
        assert not [process for process in multiprocessing.active_children() if process.name.startswith("Spawn")]

    def test_an_error_keeps_its_kind(self) -> None:
        with pytest.raises(TrainingError, match=r"^Expected a loss"):
            run_together(1, "cpu", partial(_diverge))

    def test_the_progress_of_the_first_is_passed_on(self) -> None:
        notes: list[str] = []
        with reported_to(notes.append):
            run_together(2, "cpu", _progress)
        assert set(notes) == {"stage joint: 3 of 8 updates"}

    @pytest.mark.parametrize("error", [UserError, ValueError])
    def test_what_an_error_says_at_length_is_cut(self, error: type[Exception]) -> None:
        with pytest.raises(UserError, match=r"x{1000} \.\.\.") as caught:
            run_together(1, "cpu", partial(_fail_at_length, error))
        assert len(str(caught.value)) < 1_300
