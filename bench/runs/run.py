"""Runs a configuration to its end, and resumes earlier calls; several processes may share a folder."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from bench.config.run import RunConfig
from bench.leaderboard.collate import write_leaderboard
from bench.leaderboard.run_leaderboard import run_leaderboard
from bench.runs.cards import write_scores_into_cards
from bench.runs.evaluate import LoadedModels
from bench.runs.executors.inline import Inline
from bench.runs.executors.job import Executor, Job
from bench.runs.failures import Failures
from bench.runs.joining import join_run
from bench.runs.preparation import Preparation
from bench.runs.states import States
from bench.runs.warm_start import load_start
from bench.runs.work import WorkList
from bench.runs.worker import Worker
from bench.store.claims import OUT_REMEDY, claimed, require_locks
from bench.store.records import audio_differences
from bench.store.run_folder import RunFolder

logger = logging.getLogger(__name__)


@dataclass
class Outcome:
    """The results of a run."""

    leaderboard: pd.DataFrame
    """The leaderboard of the chosen split."""
    path: Path
    """Path of ``leaderboard.csv``, which is of the test split."""
    failures: dict[str, str] = field(default_factory=dict)
    """Label of the work to why it failed."""


class Run:
    """One configuration in one folder on one device.

    Args:
        config: the configuration.
        folder: of the run.
        device: where models are trained and evaluated.
        cache_limit_bytes: the most that all cached features may hold. None: limited by the disk only.
        executor: does the items; by default this process does.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        device: Literal["cpu", "cuda"],
        cache_limit_bytes: int | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.config = config
        self.folder = RunFolder(folder)
        self.device = device
        self.executor = executor or Inline()
        self._cache_limit_bytes = cache_limit_bytes

    def execute(self, split: str = "test") -> Outcome:
        """Check everything, then do what is missing.

        Raises:
            UserError: something cannot work; in that case nothing has been started.
        """
        job = self.begin()
        _log_done(job.work)
        states = self.executor.work_through(job)
        self.folder.require_present()
        write_scores_into_cards(job.work)
        return self._outcome(split, _keep_failed(states, job.failures))

    def begin(self, *, only: Collection[str] | None = None, noted_before: Mapping[Path, int] | None = None) -> Job:
        """Check everything, and write ``config.yaml``.

        Args:
            only: labels of the items to do. None: all.
            noted_before: old failures, see `Failures`.

        Raises:
            UserError: something cannot work.
        """
        join_run(self.folder, self.config)
        require_locks(self.folder.path / "work", OUT_REMEDY)
        failures = Failures(self.folder, noted_before)
        work = WorkList(self.folder, self.config, only)
        models = LoadedModels(self.config, self.folder, self.device)
        start = load_start(self.config)
        preparation = Preparation(work, models, start, self.device, self._cache_limit_bytes, failures)
        prepared = preparation.prepare()
        with claimed(self.folder.lock_path("config"), wait=True):
            self.folder.write_config(join_run(self.folder, self.config))
        return Job(work, failures, self.device, self._cache_limit_bytes, Worker(preparation, prepared).do)

    def _outcome(self, split: str, failed: dict[str, str]) -> Outcome:
        for difference in audio_differences(self.folder.records):
            logger.warning(difference)
        table = run_leaderboard(self.folder)
        path = write_leaderboard(table, self.folder.path)
        return Outcome(table if split == "test" else run_leaderboard(self.folder, split), path, failed)


def _log_done(work: WorkList) -> None:
    """Log what earlier calls have done."""
    for item in work.compressions:
        if item.is_done(work.folder):
            logger.info("%s: done before", item.label)
    for model in work.models():
        cells = work.cells(model)
        if cells and all(cell.is_done(work.folder) for cell in cells):
            logger.info("evaluate %s: done before", model.weights)


def _keep_failed(states: States, failures: Failures) -> dict[str, str]:
    """Return what failed and why. Write notes for stacks that were not begun because their parts failed."""
    failed = {}
    for item, state in states.items():
        if state.kind == "failed":
            label = failures.label_of(item)
            failed[label] = state.reason
            if failures.reason(item) is None:
                failures.keep(label, item.notes[label], state.reason)
    return failed
