"""Runs a configuration to its end, going on where an earlier call stopped; several processes may share a folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd

from bench.audio.sources import source_sha256
from bench.config.data import required_audio
from bench.config.run import RunConfig
from bench.contracts import Context, WarmStart
from bench.leaderboard.collate import write_leaderboard
from bench.leaderboard.run_leaderboard import run_leaderboard
from bench.runs import checks
from bench.runs.compress import compress
from bench.runs.evaluate import LoadedModel, evaluate
from bench.runs.failures import Failures
from bench.runs.feature_room import FeatureNeed, TaskSizes, check_room, feature_need
from bench.runs.parts import parts_made, refuse_after_failures
from bench.runs.plan import (
    Compression,
    Subject,
    cells,
    compressed,
    compressions,
    join_run,
    made_of,
    references,
    rows_to_come,
)
from bench.runs.stale import refuse_other_audio, refuse_other_data, refuse_other_origins, refuse_other_weights
from bench.runs.warm_start import load_start
from bench.stacking import PartsMade
from bench.store.claims import claimed, require_locks
from bench.store.records import Cell, audio_differences
from bench.store.run_folder import COMPRESS, LOAD, FinishedCompression, RunFolder
from bench.upstream import AnyUpstream, UpstreamModel, load_upstream
from bench.upstream.checkpoint import weights_hash

logger = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What a run left behind."""

    leaderboard: pd.DataFrame
    """Of the split asked for."""
    path: Path
    """Of ``leaderboard.csv``, the test split's."""
    failures: dict[str, str] = field(default_factory=dict)
    """Cell or compressor to why it failed."""


class Run:
    """One configuration in one folder on one device."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        device: Literal["cpu", "cuda"],
        cache_limit_bytes: int | None = None,
    ) -> None:
        self.config = config
        self._cache_limit_bytes = cache_limit_bytes
        self.folder = RunFolder(folder)
        self.device = device
        self.failures = Failures(self.folder)
        self._start: WarmStart | None = None
        self._audio_sha256: dict[str, str] = {}
        self._data_sha256: dict[str, str] = {}
        self._compared: set[str] = set()
        self._tasks: dict[str, checks.TaskOnData] = {}

    def execute(self, split: str = "test") -> Outcome:
        """Check everything, then do all that is missing.

        Raises:
            UserError: something cannot work; nothing has been started then.
        """
        join_run(self.folder, self.config)
        require_locks(self.folder.path / "work", "Choose an --out on another disk.")
        teacher = load_upstream(self.config.teacher) if self.config.teacher else None
        self._start = load_start(self.config)
        self._check(teacher)
        with claimed(self.folder.lock_path("config"), wait=True):
            self.folder.write_config(join_run(self.folder, self.config))
        subjects = references(self.config)
        for compression in compressions(self.config):
            subjects += compressed(self.config, compression, self._compress_claimed(compression, teacher))
        for subject in subjects:
            self._evaluate_subject(subject)
        self.folder.require_present()
        for difference in audio_differences(self.folder.records):
            logger.warning(difference)
        table = run_leaderboard(self.folder)
        path = write_leaderboard(table, self.folder.path)
        shown = table if split == "test" else run_leaderboard(self.folder, split)
        return Outcome(shown, path, self.failures.reasons)

    def _check(self, teacher: AnyUpstream | None) -> None:
        self._check_weights(teacher)
        checks.check_kernels(self.config)
        checks.check_disk(self.folder.path, teacher, len(compressions(self.config)))
        self._audio_sha256 = checks.prepare_data(self.config.data)
        self._tasks = checks.tasks_on_data(self.config)
        sizes = {name: task.check() for name, task in self._tasks.items()}
        self._check_data()
        if teacher is not None:
            checks.check_compressors(self.config, teacher, Context(device=self.device, start=self._start))
        if self.config.protocol == "cached":
            check_room(self._feature_needs(teacher, sizes), self._cache_limit_bytes)

    def _feature_needs(self, teacher: AnyUpstream | None, sizes: TaskSizes) -> list[FeatureNeed]:
        """Ask the tasks what they will keep of every model that they are not done with."""
        subjects = references(self.config)
        needs: list[FeatureNeed] = []
        for compression in compressions(self.config):
            made = made_of(self.folder, self.config, compression)
            if made:
                subjects += made
            elif teacher is not None:
                # Not made yet; a student has at most its teacher's hidden states.
                for subject in compressed(self.config, compression, rows_to_come(self.config, compression)):
                    needs += self._feature_needs_of(subject, teacher, f"of {compression.name}", self.device, sizes)
        for subject in subjects:
            loaded = self._load(subject) if self._missing_cells(subject) else None
            if loaded is not None:
                needs += self._feature_needs_of(subject, loaded.upstream, loaded.weights_hash, loaded.device, sizes)
        return needs

    def _feature_needs_of(
        self, subject: Subject, shape: AnyUpstream, weights: str, device: Literal["cpu", "cuda"], sizes: TaskSizes
    ) -> list[FeatureNeed]:
        needs = [
            feature_need(self.config, cell, shape, weights, sizes[cell.task], self._context(cell, subject, device))
            for cell in {cell.task: cell for cell in self._missing_cells(subject)}.values()
        ]
        return [need for need in needs if need is not None]

    def _check_weights(self, teacher: AnyUpstream | None) -> None:
        """Refuse rows whose finished cells or whose teacher had other weights, before hours of work.

        Raises:
            UserError: a model has changed, or a record is torn.
        """
        hashes = {
            "--teacher": (self.config.teacher, weights_hash(teacher) if teacher is not None else None),
            "--from": (self.config.start, weights_hash(self._start.model) if self._start else None),
        }
        subjects = references(self.config)
        for compression in compressions(self.config):
            made = made_of(self.folder, self.config, compression)
            subjects += made
            refuse_other_origins([self.folder.model_folder(subject.weights) for subject in made], hashes)
        rows = {record.cell.model for record in self.folder.records}
        for subject in subjects:
            if subject.model in rows:
                self._compare(LoadedModel(self.config, self.folder, subject, self.device))

    def _check_data(self) -> None:
        """Refuse to mix cells that were scored on different labels or audio.

        Embedded corpora are what their version says; that their audio may differ in bits is said at the end.
        """
        if self.config.data.embedded:
            return
        made = [subject for each in compressions(self.config) for subject in made_of(self.folder, self.config, each)]
        if made:
            audio = source_sha256(required_audio(self.config.data))
            refuse_other_audio([self.folder.model_folder(subject.weights) for subject in made], audio)
        found = {name: task.fingerprint() for name, task in self._tasks.items()}
        self._data_sha256 = {name: sha256 for name, sha256 in found.items() if sha256 is not None}
        refuse_other_data(self.folder, self._data_sha256, self.config.data.name)

    def _compare(self, loaded: LoadedModel) -> None:
        refuse_other_weights(self.folder, self.config, loaded.subject, loaded.weights_hash)
        self._compared.add(loaded.subject.weights)

    def _compress_claimed(self, compression: Compression, teacher: AnyUpstream | None) -> list[str]:
        """Make a compression's models, or find them made; the rows that they are, none where it failed."""
        what = f"{COMPRESS} {compression.name}"
        self.folder.require_present()
        with claimed(self.folder.lock_path(what), wait=True):
            models = self.failures.guard(what, partial(self._compress, compression, teacher))
            if models is not None:
                self.failures.clear(what)
            return models or []

    def _compress(self, compression: Compression, teacher: AnyUpstream | None) -> list[str]:
        name = compression.name
        made = made_of(self.folder, self.config, compression)
        if made:
            logger.info("compress %s: done before", name)
            return [subject.model for subject in made]
        if lost := self.folder.lost_models(name, compression.suffix):
            logger.warning("compress %s: made again, because %s is missing or incomplete", name, lost[0])
        logger.info("compress %s: teacher %s", name, self.config.teacher)
        started = time.monotonic()
        upstream = checks.compressible(teacher, self.config.teacher)
        models = compress(
            self.config,
            compression,
            upstream,
            self.folder.compression_workdir(name),
            self.device,
            self._model_folder_of(compression),
            self._start,
            self._parts_made(compression, upstream),
        )
        seconds = time.monotonic() - started
        self.folder.finish_compression(name, FinishedCompression(models=tuple(models), seconds=round(seconds, 3)))
        logger.info("compress %s: done in %.0f s", name, seconds)
        return models

    def _model_folder_of(self, compression: Compression) -> Callable[[str], Path]:
        def folder(model: str) -> Path:
            self.folder.require_present()
            return self.folder.model_folder(model + compression.suffix)

        return folder

    def _parts_made(self, compression: Compression, teacher: UpstreamModel) -> PartsMade:
        refuse_after_failures(self.config, compression, self.failures.reasons)
        made = parts_made(self.folder, self.config, compression, teacher, self._start)
        if made.folders:
            models = ", ".join(folder.name for folder in made.folders.values())
            logger.info("compress %s: begins with %s", compression.name, models)
        return made

    def _evaluate_subject(self, subject: Subject) -> None:
        if not self._missing_cells(subject) and subject.weights in self._compared:
            logger.info("evaluate %s: done before", subject.weights)
            return
        loaded = self._load(subject)
        if loaded is None:
            return
        if loaded.device != self.device:
            logger.info("evaluate %s: on the CPU, heads too, for its int8 layers run there alone", subject.weights)
        # First what nobody works on; then, once they are done, what others have not finished.
        for wait in (False, True):
            for cell in self._missing_cells(subject):
                if str(cell) not in self.failures.reasons:
                    self._evaluate_claimed(cell, loaded, wait=wait)

    def _load(self, subject: Subject) -> LoadedModel | None:
        def load() -> LoadedModel:
            loaded = LoadedModel(self.config, self.folder, subject, self.device)
            self._compare(loaded)
            return loaded

        return self.failures.guard(f"{LOAD} {subject.weights}", load)

    def _missing_cells(self, subject: Subject) -> list[Cell]:
        return [cell for cell in cells(subject, self.config) if self.folder.records.read(cell) is None]

    def _evaluate_claimed(self, cell: Cell, model: LoadedModel, *, wait: bool) -> None:
        self.folder.require_present()
        with claimed(self.folder.lock_path(str(cell)), wait=wait) as mine:
            if not mine:
                return
            if self.folder.records.read(cell) is None:
                self.failures.guard(str(cell), partial(self._evaluate, cell, model), note=cell.stem())
            if str(cell) not in self.failures.reasons:
                self.failures.clear(cell.stem())
                self.failures.clear(f"{LOAD} {model.subject.weights}")

    def _evaluate(self, cell: Cell, model: LoadedModel) -> None:
        task = self._tasks[cell.task]
        context = self._context(cell, model.subject, model.device)
        hashes = self._audio_sha256.get(cell.task), self._data_sha256.get(cell.task)
        evaluate(self.config, self.folder, cell, model, task, context, *hashes)

    def _context(self, cell: Cell, subject: Subject, device: Literal["cpu", "cuda"]) -> Context:
        return Context(
            seed=cell.seed,
            device=device,
            protocol=self.config.protocol,
            model=cell.model,
            cache_limit_bytes=self._cache_limit_bytes,
            shared_workdir=self.folder.shared_workdir(subject.weights, cell.task),
        )
