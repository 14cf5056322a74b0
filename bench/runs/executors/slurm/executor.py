"""Decides which items of a run to submit to Slurm, and follows their jobs until all have ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import UserError
from bench.runs.executors.job import Job
from bench.runs.executors.slurm.item import ItemJob
from bench.runs.executors.slurm.options import SlurmOptions
from bench.runs.executors.slurm.queue import FORGOTTEN, QueueError, SlurmJob, jobs_of
from bench.runs.executors.slurm.submitting import require_slurm, submit
from bench.runs.states import States, states_of
from bench.runs.work import Item
from bench.stopping import stop_if_requested
from bench.store.claims import claimed
from bench.store.holders import claimed_by_name
from bench.store.run_folder import COMPRESS
from bench.store.submissions import Submissions
from bench.text import shortened

SHORTEST_LOOK_S, LONGEST_LOOK_S = 1.0, 15.0
"""Seconds between two looks at the queue: the longer nothing changes, the more."""
LATE_RESULT_S = 30.0
"""How long the result of a job that ended may take to be seen here, on a disk that several machines share."""
LARGEST_ARRAY = 1_000
"""Most jobs of an array; Slurm's own default."""

logger = logging.getLogger(__name__)


class Slurm:
    """Submits every item as a job as soon as all items that it needs are done or submitted.

    Each job takes the claim of its item as any other process does, so that jobs, local processes and several calls of
    one command may share a folder. Which jobs were submitted is stored in the folder: a further call follows them.

    Args:
        options: what every job asks of Slurm.
        device: ``auto``, ``cpu`` or ``cuda``, chosen where the job runs.
    """

    def __init__(self, options: SlurmOptions, device: str = "auto") -> None:
        self.options = options
        self.device = device

    def require(self, run: Path, devices: int) -> None:
        """Refuse what cannot work, before the run is checked.

        Args:
            run: the run's folder.
            devices: that a compression trains on.

        Raises:
            UserError: Slurm is not here, or jobs would get too few GPUs.
        """
        require_slurm(run)
        if self.device != "cpu":
            self.options.require_gpus(devices)

    def work_through(self, job: Job) -> States:
        """See `Executor`."""
        self.require(job.work.folder.path, job.work.config.devices)
        run = _SubmittedRun(job, self.options, self.device)
        try:
            return run.follow()
        except (KeyboardInterrupt, UserError):
            run.say_what_goes_on()
            raise


@dataclass
class _SubmittedRun:
    """One call that submits and follows the jobs of a run."""

    job: Job
    options: SlurmOptions
    device: str
    jobs: dict[str, SlurmJob] = field(default_factory=dict)
    """The newest job of every item, by label."""
    followed: dict[str, str] = field(default_factory=dict)
    """The job of every item that this call has seen alive."""
    ended: dict[str, float] = field(default_factory=dict)
    """When this call first saw that a job had ended."""
    said: dict[str, str] = field(default_factory=dict)
    """What was logged last about an item."""
    reaches_slurm: bool = True

    def __post_init__(self) -> None:
        self.submissions = Submissions(self.job.work.folder.path)

    def follow(self) -> States:
        """Submit what is missing, and wait until nothing is left to wait for."""
        changed = time.monotonic()
        before: object = None
        while True:
            stop_if_requested()
            self.job.work.folder.require_present()
            states = self._look()
            alive = self._alive()
            kinds = {item.label: state.kind for item, state in states.items()}
            # A job may still wait although another process has done its item.
            awaited = [label for label, kind in kinds.items() if kind in ("ready", "running") or label in alive]
            if self.reaches_slurm and all(kinds[label] == "done" for label in awaited):
                return states
            if (alive, kinds) != before:
                before, changed = (alive, kinds), time.monotonic()
            time.sleep(min(LONGEST_LOOK_S, max(SHORTEST_LOOK_S, (time.monotonic() - changed) / 10)))

    def say_what_goes_on(self) -> None:
        """Log which jobs go on without this process."""
        if alive := self._alive():
            ids = sorted({job.id.partition("_")[0] for job in alive.values()}, key=int)
            logger.warning(
                "%d Slurm jobs go on. The same command follows them again. End them with: scancel %s",
                len(alive),
                " ".join(ids),
            )

    def _alive(self) -> dict[str, SlurmJob]:
        return {label: job for label, job in self.jobs.items() if job.is_alive}

    def _look(self) -> States:
        """Read the queue, report jobs that died, and submit what can be submitted."""
        folder = self.job.work.folder
        # Two calls must not submit the same item.
        with claimed(folder.lock_path("slurm"), wait=False) as is_mine:
            self._read_queue()
            # After the queue: what a job that has ended leaves behind is there by now.
            states = self._states()
            if is_mine and self.reaches_slurm:
                self._log_jobs(states)
                self._report_dead(states)
                states = self._states()
                for items, need in self._submittable(states):
                    self._submit(items, need)
        return states

    def _states(self) -> States:
        return states_of(self.job.work.items(), self.job.work.folder, self.job.failures.reason)

    def _read_queue(self) -> None:
        try:
            self.jobs = jobs_of(self.submissions)
        except QueueError as error:
            if self.reaches_slurm:
                logger.warning("Slurm does not answer (%s). Asking again until it does.", error)
            self.reaches_slurm = False
            return
        self.reaches_slurm = True
        for label, job in self._alive().items():
            self.followed[label] = job.id
            self.ended.pop(label, None)

    def _log_jobs(self, states: States) -> None:
        for item, state in states.items():
            job = self.jobs.get(item.label)
            if job is None or item.label not in self.followed:
                continue
            # Other reasons than a held job change often.
            held = job.reason if "held" in job.reason.lower() else ""
            seen = "done" if state.kind == "done" else f"{job.id} {job.state} {held}"
            if self.said.get(item.label) != seen:
                self.said[item.label] = seen
                logger.info("%s: %s", item.label, "done" if state.kind == "done" else job)

    def _report_dead(self, states: States) -> None:
        """Note the failure of every job that ended without a result or a note: killed, out of memory, cancelled."""
        alive = self._alive()
        for item, state in states.items():
            job = self.jobs.get(item.label)
            if job is None or job.is_alive or job.is_void or self.followed.get(item.label) != job.id:
                continue
            could_go_on = state.kind == "blocked" and any(need.label in alive for need in item.needs)
            if state.kind != "ready" and not could_go_on:
                continue
            since = self.ended.setdefault(item.label, time.monotonic())
            if job.state in ("COMPLETED", "FAILED", FORGOTTEN) and time.monotonic() - since < LATE_RESULT_S:
                continue
            with claimed_by_name(self.job.work.folder.lock_path(item.label)) as claim:
                if claim is not None and not item.is_done(self.job.work.folder):
                    last = f" ({shortened(line, 160)})" if (line := job.last_line()) else ""
                    reason = f"Slurm job {job.id} ended without a result: {job.state}{last}. Its log: {job.log}"
                    self.job.failures.keep(item.label, item.notes[item.label], reason)

    def _submittable(self, states: States) -> Iterator[tuple[Sequence[Item], SlurmJob | None]]:
        """Group the items that can be submitted by the job that they need, and by their step."""
        alive = self._alive()
        groups: dict[tuple[str | None, str], list[Item]] = {}
        chosen: set[str] = set()
        for item, state in states.items():
            if item.label in alive or self._awaits_result(item) or state.kind not in ("ready", "blocked"):
                continue
            missing = [need for need in item.needs if not need.is_done(self.job.work.folder)]
            need = missing[0].label if missing else None
            if need is None or need in alive or need in chosen:
                groups.setdefault((need, item.step), []).append(item)
                chosen.add(item.label)
        for (label, _), items in groups.items():
            # Cells of one model and task share features. Spread over the seeds, fewer jobs wait for the same ones.
            ordered = sorted(items, key=lambda item: item.seed)
            for start in range(0, len(ordered), LARGEST_ARRAY):
                yield ordered[start : start + LARGEST_ARRAY], None if label is None else self.jobs[label]

    def _awaits_result(self, item: Item) -> bool:
        """Whether the job of an item has ended, and its result may not be visible yet."""
        job = self.jobs.get(item.label)
        return job is not None and item.label in self.ended and self.followed.get(item.label) == job.id

    def _submit(self, items: Sequence[Item], need: SlurmJob | None) -> None:
        delay_s = self.options.delay_s
        options = self.options if items[0].step == COMPRESS else self.options.for_one_gpu()
        commands = [self.job.command(item, self.device) for item in items]
        jobs = [ItemJob(command, max(1, delay_s // 2), self.options.max_requeues) for command in commands]
        submission = self.submissions.begin([item.label for item in items])
        dependency = need.id if need else None
        try:
            number = submit(jobs, submission.name, dependency, options, self.submissions.logs_folder)
        except UserError:
            self.submissions.remove(submission)
            raise
        submission = submission.model_copy(update={"job_id": number})
        self.submissions.keep(submission)
        for label, job_id in submission.job_ids().items():
            self.jobs[label] = SlurmJob(job_id, "PENDING", "", self.submissions.log_path(job_id))
            self.followed[label] = job_id
