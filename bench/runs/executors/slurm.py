"""Submits the items of a run to Slurm."""

from __future__ import annotations

from bench.errors import UserError
from bench.runs.executors.job import Job
from bench.runs.states import States


class Slurm:
    """Submits every item as a job."""

    def work_through(self, job: Job) -> States:  # noqa: ARG002
        """See `Executor`."""
        raise UserError("--executor slurm does not work yet. Use --executor commands, and submit the commands.")
