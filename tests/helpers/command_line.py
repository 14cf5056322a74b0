"""Call ``bench`` as users do: in this process, or as a program where the process matters."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from bench.cli import main
from tests.helpers.process_state import restored_process

BENCH = [sys.executable, "-c", "from bench.cli import main; main()"]
"""Starts the program."""


def bench(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in this process. Exceptions that the program would show as a traceback are raised."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        restored_process(),
        pytest.MonkeyPatch.context() as patch,
        mock.patch.dict(os.environ),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        patch.setattr(sys, "argv", ["bench", *arguments])
        patch.chdir(cwd or Path.cwd())
        try:
            main()
        except SystemExit as left:
            code = left.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess([*arguments], code, output.getvalue(), errors.getvalue())


def bench_process(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as a program."""
    return subprocess.run([*BENCH, *arguments], capture_output=True, text=True, check=False, cwd=cwd)


def error_of(*arguments: str, cwd: Path | None = None) -> str:
    """Return the one line on standard error of a command that must refuse its input."""
    result = bench(*arguments, cwd=cwd)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line
