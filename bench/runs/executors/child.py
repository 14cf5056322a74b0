"""A worker process as the process that has started it sees it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import IO

from bench.runs.executors.program import PROGRAM
from bench.stopping import STOP_SIGNAL
from bench.terminal.streams import say

WORK = (*PROGRAM, "work")
SECONDS_TO_END = 30.0
"""How long an interrupted process may take to save its work."""


class Child:
    """A process that works on an assignment. Its messages appear on standard error, after its number.

    It has a session of its own, so that Ctrl-C reaches this process only, which then interrupts each child once.

    Args:
        number: of the process, from 1.
        assignment: one line for its standard input, which stays open for as long as this process lives.
        environment: variables that differ from this process's.
    """

    def __init__(self, number: int, assignment: bytes, environment: Mapping[str, str]) -> None:
        self.number = number
        self._quiet = False
        self._process = subprocess.Popen(
            [*WORK, *_verbosity()],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        stdin, stderr = self._process.stdin, self._process.stderr
        assert stdin is not None
        assert stderr is not None
        self._stdin = stdin
        self._reader = threading.Thread(target=self._forward, args=(stderr,), daemon=True)
        self._reader.start()
        # If the process ends at once, its exit code says so.
        with contextlib.suppress(BrokenPipeError):
            stdin.write(assignment)
            stdin.flush()

    @property
    def pid(self) -> int:
        """Process number of the system."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative if a signal has killed it."""
        return self._process.poll()

    @property
    def ended_well(self) -> bool:
        """Whether it has worked through all items, whatever their results."""
        return self.exit_code == 0

    @property
    def end(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        if code >= 0:
            return f"exit code {code}"
        return f"killed by {signal.Signals(-code).name}"

    def ask_to_stop(self) -> None:
        """Ask it to stop when it has saved its progress, see `bench.stopping`."""
        self._process.send_signal(STOP_SIGNAL)

    def interrupt(self) -> None:
        """Ask it to save its work and end, and hide what it still says. If it has ended, do nothing."""
        if self.exit_code is None:
            self._quiet = True
            self._process.terminate()

    def close(self) -> None:
        """Wait until it has ended. Kill it if it takes too long."""
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1.0)
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    def _forward(self, stream: IO[bytes]) -> None:
        for line in stream:
            text = line.decode(errors="replace").rstrip()
            if text and not self._quiet:
                say(f"[{self.number}] {text}")


def _verbosity() -> list[str]:
    """Return the options that make a process log as this one does."""
    if "--debug" in sys.argv:
        return ["--debug"]
    level = logging.getLogger("bench").getEffectiveLevel()
    return ["-q"] if level > logging.INFO else ["-v"] if level < logging.INFO else []
