"""``bench work``: one of the processes of ``--executor processes:N``, which starts it."""

from __future__ import annotations

import os
import signal
import sys
import threading

from bench.cli import options


def work(
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Share the items of a run with other processes. Standard input holds one line that says which run."""
    from bench.runs.executors.assignment import Assignment

    assignment = Assignment.parsed(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    assignment.work_through()
    # Also if items have failed, which the starting process reports: other codes mean that this process has failed.
    return 0


def _end_with_parent() -> None:
    """Interrupt this process when the one that has started it is gone, which closes this standard input."""
    # Not sys.stdin: a daemon thread must not hold its lock when the interpreter ends.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
