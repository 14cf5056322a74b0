"""How a process ends after Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WATCHED = """
import atexit, os, signal, sys
import bench.cli

# Shells that start the tests in the background have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Remains:
    def __del__(self, write=os.write):
        write(1, b"taken apart\\n")

def work(arguments):
    atexit.register(print, "exit functions")
    os.kill(os.getpid(), {number})
    signal.pause()

remains = Remains()
bench.cli._run = work
{start}
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("bench.cli.program()", ["exit functions"]),
        ("import superb_bench; superb_bench.main()", ["exit functions"]),
        ("bench.cli.main()", ["exit functions", "taken apart"]),
    ],
)
def test_an_interrupted_program_does_not_take_the_interpreter_apart(
    start: str, said: list[str], number: signal.Signals
) -> None:
    script = WATCHED.format(number=int(number), start=start)
    done = subprocess.run([sys.executable, "-uc", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 130
    assert done.stdout.splitlines() == said
    assert done.stderr.startswith("interrupted: ")
    assert len(done.stderr.splitlines()) == 1
