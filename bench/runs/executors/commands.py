"""Lists one command per item, for any scheduler."""

from __future__ import annotations

from bench.errors import UserError
from bench.runs.executors.job import Job
from bench.runs.states import States


class Commands:
    """Does nothing itself."""

    def work_through(self, job: Job) -> States:  # noqa: ARG002
        """See `Executor`."""
        raise UserError("--executor commands does not work yet.")
