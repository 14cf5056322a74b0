"""Errors that are no bugs become one line and an exit code, wherever they come from."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.cli import main
from bench.errors import TrainingError, UserError


def deep(level: int) -> int:
    return deep(level + 1)


def encode() -> None:
    "name-\udcff.wav".encode()


def allocate() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("act", "exit_code", "said"),
    [
        (lambda: fail(UserError("Expected this. Found that.")), 2, "Found that"),
        (lambda: fail(TrainingError("NaN")), 1, "NaN"),
        (lambda: fail(OSError(errno.ENOSPC, "No space left on device")), 2, "No space left on device"),
        (lambda: fail(OSError(errno.ENOSPC, "No space left on device", "out.npz")), 2, "out.npz"),
        (lambda: fail(OSError("torn")), 2, "torn"),
        (lambda: fail(PermissionError(errno.EACCES, "Permission denied", b"models\xff")), 2, r"models\udcff"),
        (encode, 2, r"name-\udcff.wav"),
        (lambda: deep(0), 2, "nested"),
        (allocate, 2, "memory"),
        (lambda: fail(MemoryError()), 2, "memory"),
        (lambda: fail(UserError("x" * 10_000)), 2, "xxx...xxx"),
        (lambda: fail(KeyboardInterrupt()), 130, "interrupted"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 130, "interrupted"),
    ],
)
def test_one_line(
    act: Callable[[], object],
    exit_code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("bench.terminal.printing.print_rows", lambda *_: act())
    monkeypatch.setattr(sys, "argv", ["bench", "list", "tasks"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == exit_code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert captured.out == ""
    assert said in line
    assert len(line) <= 400
    assert line.startswith("error: ") == (exit_code != 130)


def test_a_bug_shows_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.terminal.printing.print_rows", lambda *_: fail(ValueError("a bug")))
    monkeypatch.setattr(sys, "argv", ["bench", "list", "tasks"])
    with pytest.raises(ValueError, match="a bug"):
        main()


def test_a_current_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr("sys.argv", ["bench", "list", "tasks"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cd" in line
