"""Works through a list of items in several processes on this machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from bench.errors import UserError
from bench.runs.executors.assignment import Assignment
from bench.runs.executors.child import Child
from bench.runs.executors.job import Job
from bench.runs.states import States, states_of
from bench.stopping import is_stop_requested, stop_if_requested
from bench.store.holders import last_holder

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 0.1


class LostProcessesError(UserError):
    """All processes ended before the work did."""

    exit_code = 1


class Processes:
    """Starts worker processes that share the items, and ends them all if it is interrupted.

    A process that is killed loses its item to the others.

    Args:
        environments: one for each process: the variables that differ from this process's, see
            `bench.runs.executors.shares`.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        self.environments = environments

    def work_through(self, job: Job) -> States:
        """See `Executor`."""
        line = Assignment.of(job).line()
        children: list[Child] = []
        try:
            for number, environment in enumerate(self.environments, 1):
                children.append(Child(number, line, environment))
            _await_all(children, job)
        finally:
            for child in children:
                child.interrupt()
            for child in children:
                child.close()
        job.work.folder.require_present()
        states = states_of(job.work.items(), job.work.folder, job.failures.reason)
        # A process that ends well has waited for the items that others do, such as those of another command.
        left_to_do = ("ready",) if any(child.ended_well for child in children) else ("ready", "running")
        left = [item.label for item, state in states.items() if state.kind in left_to_do]
        if left:
            ends = ", ".join(f"[{child.number}] {child.end}" for child in children)
            raise LostProcessesError(
                f"Expected the processes to do all items. Found {len(left)} not done, such as {left[0]}, when they had "
                f"ended: {ends}. Run the same command again to go on, with fewer processes if memory is short."
            )
        return states


def _await_all(children: Sequence[Child], job: Job) -> None:
    """Wait until all processes have ended, and report at once which ones ended early.

    Raises:
        KeyboardInterrupt: this process was asked to stop. The others have saved their progress.
    """
    running = list(children)
    is_stopping = False
    while running:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        if is_stop_requested() and not is_stopping:
            is_stopping = True
            for child in running:
                child.ask_to_stop()
        for child in [child for child in running if child.exit_code is not None]:
            running.remove(child)
            if not child.ended_well and not is_stopping:
                others = "The others take over." if running else ""
                logger.warning("[%d] %s%s. %s", child.number, child.end, _last_item(child, job), others)
    stop_if_requested()


def _last_item(child: Child, job: Job) -> str:
    """Say what a process worked on when it ended; nothing if another one has taken over already."""
    for item in job.work.items():
        holder = last_holder(job.work.folder.lock_path(item.label))
        if holder is not None and holder.pid == child.pid:
            return f" while it worked on {item.label}"
    return ""
