"""Works through a list of items in several processes on this machine."""

from __future__ import annotations

from bench.errors import UserError
from bench.runs.executors.job import Job
from bench.runs.states import States


class Processes:
    """Starts worker processes that share the items.

    Args:
        count: number of processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def work_through(self, job: Job) -> States:  # noqa: ARG002
        """See `Executor`."""
        raise UserError("--executor processes does not work yet. Start the same command several times.")
