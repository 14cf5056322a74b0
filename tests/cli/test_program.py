"""What every program has: its version, help, completion, quiet and verbose output."""

from __future__ import annotations

import logging
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version

import pytest

import bench
from bench.cli import main
from bench.cli.logs import OUR_LOGGERS

VERBS = ("run", "compress", "sweep", "evaluate", "report", "plot", "compare", "profile", "features", "convert", "list")
Call = Callable[..., tuple[str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the program in this process; it must end with 0. Returns both outputs."""

    def run(*arguments: str, start: Callable[[], object] = main) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        with pytest.raises(SystemExit, match=r"^0$"):
            start()
        return capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in OUR_LOGGERS}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_version(call: Call) -> None:
    assert call("--version")[0] == f"superb-bench {version('superb-bench')}\n"
    assert bench.__version__ == version("superb-bench")


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("verb", [None, "run", "data", "cache"])
def test_help(option: str, verb: str | None, call: Call) -> None:
    shown, _ = call(*([verb] if verb else []), option)
    assert "Usage:" in shown
    assert "--quiet" in shown
    if verb is None:
        assert all(each in shown for each in VERBS)


def test_as_a_module(call: Call) -> None:
    shown, _ = call("--version", start=lambda: runpy.run_module("bench", run_name="__main__"))
    assert shown.startswith("superb-bench ")


@pytest.mark.parametrize(
    ("options", "level"), [((), logging.INFO), (("-q",), logging.WARNING), (("-v",), logging.DEBUG)]
)
def test_quiet_and_verbose(options: tuple[str, ...], level: int, call: Call) -> None:
    for arguments in (("list", "tasks", *options), (*options, "list", "tasks")):
        assert "asr" in call(*arguments)[0]
        assert {logging.getLogger(name).level for name in OUR_LOGGERS} == {level}


def test_completion_knows_the_verbs() -> None:
    """The shell asks the program, by its environment, for what may follow."""
    asked = {"_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": "bench ev", "COMP_CWORD": "1"}
    program = "import sys; sys.argv[:] = ['bench']; from bench.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["evaluate"]
