"""What a worker process of ``--executor processes:N`` gets from the process that starts it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from bench.config.run import RunConfig
from bench.errors import UserError
from bench.runs.executors.job import Job
from bench.runs.run import Run


@dataclass(frozen=True)
class Assignment:
    """A run that several processes work through together. It travels as one line of JSON."""

    config: RunConfig
    folder: Path
    """As the user named it. All processes have the same current folder."""
    device: Literal["cpu", "cuda"]
    cache_limit_bytes: int | None
    noted_before: dict[Path, int]
    """See `bench.runs.failures.Failures`. All processes of a run must agree on which failures are old."""

    @classmethod
    def of(cls, job: Job) -> Assignment:
        """Assign all items of a job."""
        work = job.work
        noted = job.failures.noted_before
        return cls(work.config, work.folder.path, job.device, job.cache_limit_bytes, noted)

    def line(self) -> bytes:
        """Write it as one line."""
        return _ADAPTER.dump_json(self) + b"\n"

    @classmethod
    def parsed(cls, line: bytes) -> Assignment:
        """Read the line that `line` has written.

        Raises:
            UserError: it is something else.
        """
        try:
            return _ADAPTER.validate_json(line)
        except ValidationError as error:
            raise UserError(
                "Expected a run on standard input, as --executor processes:N writes it. Found something else "
                f"({error.error_count()} errors). Use `bench run --executor processes:N`."
            ) from error

    def work_through(self) -> None:
        """Do the items in this process, and share them with the other processes."""
        run = Run(self.config, self.folder, self.device, self.cache_limit_bytes)
        # The process that has started this one has logged the same.
        logging.disable(logging.ERROR)
        job = run.begin(noted_before=self.noted_before)
        logging.disable(logging.NOTSET)
        run.executor.work_through(job)


_ADAPTER = TypeAdapter(Assignment)
