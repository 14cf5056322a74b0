"""What a Slurm job runs: one item, in a process of its own. The job requeues itself if its time ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

INTERRUPTED = 130
"""Exit code of a command that was asked to stop."""


class ItemJob:
    """Does one item. Submitit stores this object and calls it within the job.

    Shortly before the time limit, Slurm sends SIGUSR2. It is passed on to the item's process, which writes the
    checkpoint of its training and ends. Then the job requeues itself, and goes on from there when it starts again.

    Args:
        command: does the item.
        grace_s: how long a process that was asked to write its checkpoint may take before it is ended.
        max_requeues: how often the job may requeue itself.
    """

    def __init__(self, command: Sequence[str], grace_s: int, max_requeues: int) -> None:
        self.command = list(command)
        self.grace_s = grace_s
        self.max_requeues = max_requeues

    def __call__(self) -> None:
        """Do the item, and end the job as the item ended."""
        environment = dict(os.environ)
        if cpus := environment.get("SLURM_CPUS_PER_TASK"):
            environment.setdefault("OMP_NUM_THREADS", cpus)
        is_out_of_time = False
        with subprocess.Popen(self.command, env=environment, stdin=subprocess.DEVNULL) as child:

            def save_and_end(_number: int, _frame: FrameType | None) -> None:
                nonlocal is_out_of_time
                is_out_of_time = True
                _say("the time limit is near: the checkpoint is written, and the job requeues itself")
                child.send_signal(signal.SIGUSR2)
                signal.alarm(self.grace_s)

            def end(_number: int, _frame: FrameType | None) -> None:
                child.terminate()

            signal.signal(signal.SIGALRM, end)
            signal.signal(signal.SIGTERM, end)
            signal.signal(signal.SIGUSR2, save_and_end)
            code = child.wait()
            signal.alarm(0)
        if is_out_of_time and code == INTERRUPTED:
            self._requeue()
        # Not an error: submitit would add its own traceback to the log.
        sys.exit(code if code >= 0 else 128 - code)

    def _requeue(self) -> None:
        count = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        if count >= self.max_requeues:
            _say(f"requeued {count} times before, which is the limit (max_requeues): not requeued")
            return
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True, timeout=60)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
