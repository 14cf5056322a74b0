"""Runs a configuration to its end, going on where an earlier call stopped."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar, cast

import pandas as pd

from bench.config.run import RunConfig
from bench.contracts import Context, Evaluation, Upstream
from bench.errors import UserError
from bench.profiling import model_card
from bench.provenance import now, versions
from bench.runner import checks
from bench.runner.compress import compress, compression_context
from bench.runner.plan import cells, join_run
from bench.store.files import write_atomically
from bench.store.leaderboard import leaderboard, write_leaderboard
from bench.store.records import Cell, ModelCard, Record
from bench.store.run_folder import FinishedCompression, RunFolder
from bench.upstream import AnyUpstream, load_upstream
from bench.upstream.checkpoint import read_manifest, weights_hash

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass
class Outcome:
    """What a run left behind."""

    leaderboard: pd.DataFrame
    path: Path
    """Of ``leaderboard.csv``."""
    failures: dict[str, str] = field(default_factory=dict)
    """Cell or compressor to why it failed."""


class Run:
    """One configuration in one folder on one device."""

    def __init__(self, config: RunConfig, folder: Path, device: Literal["cpu", "cuda"]) -> None:
        self.config = config
        self.folder = RunFolder(folder)
        self.device = device
        self.teacher: AnyUpstream | None = None
        self.failures: dict[str, str] = {}

    def execute(self, split: str = "test") -> Outcome:
        """Check everything, then do all that is missing.

        Raises:
            UserError: something cannot work; nothing has been started then.
        """
        stored_config = join_run(self.folder, self.config)
        self._prepare()
        self.folder.write_config(stored_config)
        models = [name for name, source in self.config.models.items() if source.reference]
        for name in self.config.compressors():
            failure_file = self.folder.model_folder(f"{name}.failure.txt")
            models += self._guarded(f"compress {name}", failure_file, partial(self._compress, name)) or []
        for model in models:
            self._evaluate_model(model)
        table = leaderboard(self.folder.records, split, order=models)
        return Outcome(table, write_leaderboard(table, self.folder.path), self.failures)

    def _prepare(self) -> None:
        if self.config.teacher:
            self.teacher = load_upstream(self.config.teacher)
        for name, source in self.config.models.items():
            if source.reference and source.reference != self.config.teacher:
                logger.debug("%s: %s", name, type(load_upstream(source.reference)).__name__)
        checks.check_disk(self.folder.path, self.teacher)
        checks.prepare_data(self.config.data)
        checks.check_tasks(self.config)
        if self.teacher is not None:
            checks.check_compressors(self.config, self.teacher, compression_context(self.device))

    def _guarded(self, what: str, failure_file: Path, work: Callable[[], Result]) -> Result | None:
        """Keep one failure from ending the run: it is told, kept, and tried again by the next call."""
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - plug-ins may raise anything, and finished cells must stand
            self.failures[what] = str(error) if isinstance(error, UserError) else _one_line(error)
            write_atomically(failure_file, traceback.format_exc())
            logger.error("%s failed: %s", what, self.failures[what])
            return None
        failure_file.unlink(missing_ok=True)
        return result

    def _compress(self, name: str) -> list[str]:
        finished = self.folder.finished_compression(name)
        if finished is not None:
            logger.info("compress %s: done before", name)
            return list(finished.models)
        logger.info("compress %s: teacher %s", name, self.config.teacher)
        started = time.monotonic()
        if self.teacher is None:
            raise UserError("A compressor needs a teacher. Name one with --teacher.")
        teacher = checks.compressible(self.teacher, self.config.teacher)
        workdir = self.folder.compression_workdir(name)
        models = compress(self.config, name, teacher, workdir, self.device, self.folder.model_folder)
        seconds = time.monotonic() - started
        self.folder.finish_compression(name, FinishedCompression(models=tuple(models), seconds=round(seconds, 3)))
        logger.info("compress %s: done in %.0f s", name, seconds)
        return models

    def _evaluate_model(self, model: str) -> None:
        missing = [cell for cell in cells((model,), self.config) if self.folder.records.read(cell) is None]
        if not missing:
            logger.info("evaluate %s: done before", model)
            return
        failure_file = self.folder.model_folder(f"{model}.load-failure.txt")
        loaded = self._guarded(f"load {model}", failure_file, partial(self._load, model))
        if loaded is None:
            return
        upstream, card = loaded
        for cell in missing:
            failure_file = self.folder.records.failure_path(cell)
            self._guarded(str(cell), failure_file, partial(self._evaluate, cell, upstream, card))

    def _load(self, model: str) -> tuple[AnyUpstream, ModelCard]:
        source = self.config.models.get(model)
        if source is not None and source.reference:
            upstream = load_upstream(source.reference)
            return upstream, model_card(upstream, {}, None)
        folder = self.folder.model_folder(model)
        upstream = load_upstream(folder)
        return upstream, model_card(upstream, read_manifest(folder).provenance, self.teacher)

    def _evaluate(self, cell: Cell, upstream: AnyUpstream, card: ModelCard) -> None:
        logger.info("evaluate %s", cell)
        started = time.monotonic()
        task, data = checks.task_with_data(self.config, cell.task)
        workdir = self.folder.cell_workdir(cell.stem())
        workdir.mkdir(parents=True, exist_ok=True)
        context = Context(seed=cell.seed, device=self.device)
        evaluation: Evaluation = task.evaluate(cast(Upstream, upstream.to(self.device)), data, workdir, context)
        provenance = {
            "finished": now(),
            "seconds": round(time.monotonic() - started, 3),
            "device": self.device,
            "weights_hash": weights_hash(upstream),
            "versions": versions(),
        }
        record = Record(
            cell=cell,
            card=card,
            preset=self.config.preset,
            data=self.config.data.identity,
            protocol=self.config.protocol,
            scores={split: dict(values) for split, values in evaluation.scores.items()},
            settings=dict(evaluation.settings),
            provenance=provenance,
        )
        self.folder.records.write(record, evaluation.predictions)
        logger.info("evaluate %s: done in %.0f s", cell, provenance["seconds"])


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
