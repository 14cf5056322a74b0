"""Does one item of a run: makes it, then stores its result or the reason why it failed."""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path

from bench.runs import checks
from bench.runs.compress import compress
from bench.runs.evaluate import LoadedModel, evaluate
from bench.runs.preparation import Preparation, Prepared
from bench.runs.work import Compress, Evaluate, Item
from bench.stacking import PartsMade, part_names
from bench.store.records import Record
from bench.store.run_folder import FinishedCompression

logger = logging.getLogger(__name__)


class Worker:
    """Does the items of one run in this process.

    Args:
        preparation: of the run.
        prepared: what all items need.
    """

    def __init__(self, preparation: Preparation, prepared: Prepared) -> None:
        self._preparation = preparation
        self._prepared = prepared
        self._config = preparation.work.config
        self._folder = preparation.work.folder
        self._failures = preparation.failures

    def do(self, item: Item) -> None:
        """Do an item, and record its failure. The caller holds its claim."""
        result: object
        if isinstance(item, Compress):
            result = self._failures.guard(item.label, partial(self._compress, item), item.label)
        else:
            result = self._load_and_evaluate(item)
        if result is not None:
            for note in item.notes.values():
                self._failures.clear(note)

    def _compress(self, item: Compress) -> list[str]:
        if lost := self._folder.lost_models(item.name, item.suffix):
            logger.warning("%s: made again, because %s is missing or incomplete", item.label, lost[0])
        logger.info("%s: teacher %s", item.label, self._config.teacher)
        started = time.monotonic()
        teacher = self._preparation.models.teacher
        self._preparation.models.forget()
        rows = compress(
            self._config,
            item,
            checks.compressible(teacher.upstream.cpu() if teacher else None, self._config.teacher),
            self._folder.compression_workdir(item.name),
            self._preparation.device,
            partial(self._model_folder, item),
            self._preparation.start,
            self._parts_made(item),
        )
        seconds = time.monotonic() - started
        self._folder.finish_compression(item.name, FinishedCompression(models=tuple(rows), seconds=round(seconds, 3)))
        logger.info("%s: done in %.0f s", item.label, seconds)
        return rows

    def _model_folder(self, item: Compress, row: str) -> Path:
        self._folder.require_present()
        return self._folder.model_folder(row + item.suffix)

    def _parts_made(self, item: Compress) -> PartsMade:
        """Find the models that a stack begins with."""
        if item.part is None:
            return PartsMade()
        rows = item.part.models(self._folder)
        folders = {row.removeprefix(item.part.row): self._folder.model_folder(row + item.part.suffix) for row in rows}
        logger.info("%s: begins with %s", item.label, ", ".join(folder.name for folder in folders.values()))
        return PartsMade(len(part_names(item.part.compressor)), folders)

    def _load_and_evaluate(self, item: Evaluate) -> Record | None:
        loaded = self._failures.guard(item.model.load_label, partial(self._load, item), item.model.load_label)
        if loaded is None:
            return None
        return self._failures.guard(item.label, partial(self._evaluate, item, loaded), item.cell.stem())

    def _load(self, item: Evaluate) -> LoadedModel:
        return self._preparation.load(item.model)

    def _evaluate(self, item: Evaluate, loaded: LoadedModel) -> Record:
        prepared = self._prepared
        return evaluate(
            self._config,
            self._folder,
            item.cell,
            loaded,
            prepared.tasks[item.task],
            self._preparation.context(item, loaded.device),
            prepared.audio_sha256.get(item.task),
            prepared.data_sha256.get(item.task),
        )
