"""Runs one cell: evaluates a model on a task and writes the record."""

from __future__ import annotations

import logging
import time
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

from bench.config.run import RunConfig
from bench.contracts import Context, Evaluation, Upstream
from bench.profiling import model_card
from bench.profiling.machine import this_machine
from bench.provenance import cpu_seconds, now, versions
from bench.runs.checks import TaskOnData
from bench.runs.work import Model
from bench.stopwatch import stopwatch
from bench.store.records import Cell, ModelCard, Record
from bench.store.run_folder import RunFolder
from bench.upstream import AnyUpstream, load_upstream
from bench.upstream.checkpoint import is_suite_folder, read_manifest, weights_hash
from bench.upstream.matmul_precision import MatmulPrecision, matmul_precision

logger = logging.getLogger(__name__)

MATMUL_PRECISION: MatmulPrecision = "highest"
"""Of features and heads, which s3prl computes in float32 too."""


class LoadedModel:
    """A model in memory.

    Args:
        reference: of the model.
        device: of the run.
    """

    def __init__(self, reference: str, device: Literal["cpu", "cuda"]) -> None:
        self.reference = reference
        self.upstream: AnyUpstream = load_upstream(reference)
        self.device = device
        """Where it is evaluated."""

    @cached_property
    def card(self) -> ModelCard:
        """Its size and cost."""
        folder = Path(self.reference)
        return model_card(self.upstream, read_manifest(folder).provenance if is_suite_folder(folder) else {})

    @cached_property
    def weights_hash(self) -> str:
        """Hash of its weights."""
        return weights_hash(self.upstream)


class LoadedModels:
    """The models of a run in memory: the teacher for as long as the process lives, and the last one used.

    Args:
        config: of the run.
        folder: of the run.
        device: of the run.
    """

    def __init__(self, config: RunConfig, folder: RunFolder, device: Literal["cpu", "cuda"]) -> None:
        self._config = config
        self._folder = folder
        self._device = device
        self._last: LoadedModel | None = None

    @cached_property
    def teacher(self) -> LoadedModel | None:
        """The teacher; None in a plain evaluation."""
        return LoadedModel(self._config.teacher, self._device) if self._config.teacher else None

    def load(self, model: Model) -> LoadedModel:
        """Return a model, reading it only if it is not in memory.

        Raises:
            UserError: it cannot be read.
        """
        reference = self._reference(model)
        if self.teacher is not None and reference == self.teacher.reference:
            return self.teacher
        if self._last is None or self._last.reference != reference:
            self._last = None  # Two students at once may not fit into memory.
            self._last = LoadedModel(reference, self._device)
        return self._last

    def forget(self) -> None:
        """Drop the last model used, because its folder may change."""
        self._last = None

    def _reference(self, model: Model) -> str:
        source = self._config.models.get(model.row)
        return source.reference if source and source.reference else str(self._folder.model_folder(model.weights))


def evaluate(
    config: RunConfig,
    folder: RunFolder,
    cell: Cell,
    model: LoadedModel,
    task: TaskOnData,
    context: Context,
    audio_sha256: str | None,
    data_sha256: str | None,
) -> Record:
    """Run one cell and write its record."""
    logger.info("evaluate %s", cell)
    started, cpu_started = time.monotonic(), cpu_seconds()
    workdir = folder.cell_workdir(cell.stem())
    workdir.mkdir(parents=True, exist_ok=True)
    card = model.card  # Before the model moves to a GPU.
    upstream = cast(Upstream, model.upstream.to(context.device))
    with matmul_precision(MATMUL_PRECISION), stopwatch() as watch:
        evaluation: Evaluation = task.task.evaluate(upstream, task.data, workdir, context)
    seconds = time.monotonic() - started
    record = Record(
        cell=cell,
        card=card,
        preset=config.preset,
        data=config.data.identity,
        audio_sha256=audio_sha256,
        data_sha256=data_sha256,
        protocol=config.protocol,
        scores={split: dict(values) for split, values in evaluation.scores.items()},
        settings=dict(evaluation.settings),
        provenance={
            "finished": now(),
            "seconds": round(seconds, 3),
            "seconds_by_part": {part: round(spent, 3) for part, spent in watch.seconds.items()},
            "cpu_seconds": round(cpu_seconds() - cpu_started, 3),
            "device": context.device,
            "float32_matmul_precision": MATMUL_PRECISION,
            "weights_hash": model.weights_hash,
            "versions": versions(),
            "machine": this_machine().model_dump(mode="json", exclude_none=True),
        },
    )
    folder.require_present()
    folder.records.write(record, evaluation.predictions)
    shares = f" ({watch.shares()})" if watch.seconds else ""
    logger.info("evaluate %s: done in %.0f s%s", cell, seconds, shares)
    return record
