"""Asks Slurm about the jobs of a run. There may be no accounting database, so only ``squeue`` is used."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.store.submissions import Submission, Submissions

logger = logging.getLogger(__name__)

TIMEOUT_S = 60
LONGEST_LINE_BYTES = 4_096
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
"""States that a job does not leave."""
FORGOTTEN = "forgotten by Slurm"
"""Stands for the state of a job that ended long ago."""


class QueueError(Exception):
    """Slurm does not answer."""


@dataclass(frozen=True)
class SlurmJob:
    """The newest job of an item."""

    id: str
    state: str
    """Slurm's name of it, or `FORGOTTEN`. Empty if Slurm was not asked."""
    reason: str
    """Why it is pending."""
    log: Path

    @property
    def is_alive(self) -> bool:
        """Whether it waits or runs."""
        return self.state not in ENDED and self.state != FORGOTTEN and not self.is_void

    @property
    def is_void(self) -> bool:
        """Whether it can never start because the job that it depends on has failed; Slurm cancels it soon."""
        return self.reason == "DependencyNeverSatisfied"

    def last_line(self) -> str:
        """Return the last line of its log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - LONGEST_LINE_BYTES))
                lines = file.read().decode("utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason and self.state == "PENDING" else ""
        return f"Slurm job {self.id} {self.state}".rstrip() + reason


def jobs_of(submissions: Submissions, *, ask: bool = True) -> dict[str, SlurmJob]:
    """Return the newest job of every item that was submitted.

    Args:
        submissions: of the run.
        ask: ask Slurm for the states.

    Raises:
        QueueError: Slurm does not answer.
    """
    known = submissions.all()
    queue = _queue([submission.name for submission in known]) if ask and known else {}
    found: dict[str, SlurmJob] = {}
    for submission in known:
        for label, job_id in (submission.job_ids() or _ids_in_queue(submission, queue)).items():
            name, state, reason = queue.get(job_id, ("", "", ""))
            if ask and name != submission.name:
                state, reason = FORGOTTEN, ""
            found[label] = SlurmJob(job_id, state, reason, submissions.log_path(job_id))
    return found


def jobs_as_far_as_known(run: Path) -> dict[str, SlurmJob]:
    """Return the newest job of every item of a run; with empty states if Slurm cannot be asked here."""
    submissions = Submissions(run)
    try:
        return jobs_of(submissions, ask=is_there())
    except QueueError as error:
        logger.warning("Slurm does not answer (%s), so the states of jobs are not known.", error)
        return jobs_of(submissions, ask=False)


def is_there() -> bool:
    """Whether Slurm's programs are on this machine."""
    return all(shutil.which(name) for name in ("sbatch", "squeue"))


def _ids_in_queue(submission: Submission, queue: Mapping[str, tuple[str, str, str]]) -> dict[str, str]:
    """Find the jobs of a submission by name: its process was killed before it stored their number."""
    ids = [job_id for job_id, (name, *_) in queue.items() if name == submission.name]
    if not ids:
        return {}
    return submission.model_copy(update={"job_id": ids[0].partition("_")[0]}).job_ids()


def _queue(names: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Map the number of every job that Slurm remembers to its name, state and reason."""
    command = ["squeue", "--noheader", "--array", "--states=all", f"--name={','.join(names)}", "--format=%i|%j|%T|%r"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QueueError(f"squeue: {type(error).__name__}") from error
    if answer.returncode:
        raise QueueError((answer.stderr.strip().splitlines() or ["squeue failed"])[-1])
    found = {}
    for line in answer.stdout.splitlines():
        job_id, _, rest = line.strip().partition("|")
        name, _, rest = rest.partition("|")
        state, _, reason = rest.partition("|")
        found[job_id] = (name, state, "" if reason == "None" else reason)
    return found
