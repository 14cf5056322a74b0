"""Which items of a run were submitted to a scheduler, as which jobs. One small file per submission."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, Field

from bench.errors import UserError
from bench.files.atomic import write_atomically
from bench.store.reading import read_json_as

NAME_PREFIX = "bench-"

logger = logging.getLogger(__name__)


class Submission(BaseModel):
    """Jobs that were submitted with one call of the scheduler. Several are an array, in the order of the labels."""

    name: str = Field(pattern=r"^bench-[0-9a-f]{12}$")
    """The jobs' name, which no other submission has. It finds jobs whose numbers could not be stored any more."""
    labels: tuple[str, ...]
    """Labels of the items."""
    since: AwareDatetime
    """When it was begun, in UTC."""
    job_id: str | None = Field(default=None, pattern=r"^[0-9]{1,12}$")
    """The scheduler's number of the job or array. None until it is known."""

    def job_ids(self) -> dict[str, str]:
        """Return the job of every item; none if the number is not known."""
        if self.job_id is None:
            return {}
        if len(self.labels) == 1:
            return {self.labels[0]: self.job_id}
        return {label: f"{self.job_id}_{index}" for index, label in enumerate(self.labels)}


class Submissions:
    """The submissions of one run.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / "work" / "slurm"
        self._damaged: set[Path] = set()

    @property
    def logs_folder(self) -> Path:
        """Where the jobs write their logs."""
        return self.folder / "logs"

    def log_path(self, job_id: str) -> Path:
        """Return the log of a job."""
        return self.logs_folder / f"{job_id}_0_log.out"

    def begin(self, labels: Sequence[str]) -> Submission:
        """Store what is about to be submitted, so that a process killed just after submitting leaves a trace."""
        name = f"{NAME_PREFIX}{uuid.uuid4().hex[:12]}"
        submission = Submission(name=name, labels=tuple(labels), since=datetime.now(timezone.utc))
        self.keep(submission)
        return submission

    def keep(self, submission: Submission) -> None:
        """Store a submission."""
        write_atomically(self._path(submission), submission.model_dump_json(indent=1) + "\n")

    def remove(self, submission: Submission) -> None:
        """Forget a submission."""
        self._path(submission).unlink(missing_ok=True)

    def all(self) -> list[Submission]:
        """List the submissions, oldest first. A damaged file is skipped: its items are submitted again."""
        found = []
        for path in self.folder.glob(f"{NAME_PREFIX}*.json"):
            try:
                found.append(read_json_as(Submission, path, "a submission", "It is ignored."))
            except UserError as error:
                if path not in self._damaged:
                    logger.warning("%s", error)
                self._damaged.add(path)
        return sorted(found, key=lambda submission: (submission.since, submission.name))

    def _path(self, submission: Submission) -> Path:
        return self.folder / f"{submission.name}.json"
