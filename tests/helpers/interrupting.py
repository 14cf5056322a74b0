"""Start ``bench``, and send it a signal in the middle of its work."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable

from tests.helpers.command_line import BENCH

# Tests that a shell runs in the background ignore interrupts, and so would what they start.
LISTEN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
INTERRUPTIBLE = [*BENCH[:-1], f"{LISTEN}; {BENCH[-1]}"]


def kill_when(command: list[str], reached: Callable[[], bool], part: str) -> None:
    """Start the program, and end it the hard way as soon as it has reached a part."""
    end_when(command, reached, part, signal.SIGKILL)


def end_when(
    command: list[str], reached: Callable[[], bool], part: str, how: signal.Signals
) -> subprocess.CompletedProcess[str]:
    """Start the program, and send it a signal as soon as it has reached a part."""
    process = subprocess.Popen([*INTERRUPTIBLE, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not reached():
        assert process.poll() is None, f"ended before {part}: {process.stderr.read()}"
        assert time.monotonic() < deadline, f"never reached {part}"
        time.sleep(0.02)
    process.send_signal(how)
    _, told = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, "", told)
