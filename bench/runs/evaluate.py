"""Evaluates one model: loads it, measures its cost, runs its cells."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Literal, cast

from bench.config.run import RunConfig
from bench.contracts import Context, Evaluation, Upstream
from bench.profiling import model_card
from bench.profiling.machine import this_machine
from bench.provenance import cpu_seconds, now, versions
from bench.runs.checks import TaskOnData
from bench.runs.plan import Subject
from bench.store.records import Cell, ModelCard, Record
from bench.store.run_folder import RunFolder
from bench.upstream import AnyUpstream, load_upstream
from bench.upstream.checkpoint import is_suite_folder, read_manifest, weights_hash
from bench.upstream.reduced_linears import usable_device

logger = logging.getLogger(__name__)


class LoadedModel:
    """A row of the leaderboard in memory."""

    def __init__(self, config: RunConfig, folder: RunFolder, subject: Subject, device: Literal["cpu", "cuda"]) -> None:
        self.subject = subject
        source = config.models.get(subject.model)
        reference = source.reference if source and source.reference else str(folder.model_folder(subject.weights))
        self.upstream: AnyUpstream = load_upstream(reference)
        self.device = usable_device(self.upstream, device)
        """Where it is evaluated in a run on ``device``."""
        provenance = read_manifest(Path(reference)).provenance if is_suite_folder(Path(reference)) else {}
        self.card: ModelCard = model_card(self.upstream, provenance)
        self.weights_hash = weights_hash(self.upstream)


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
    """Run one cell and keep its record."""
    logger.info("evaluate %s", cell)
    started, cpu_started = time.monotonic(), cpu_seconds()
    workdir = folder.cell_workdir(cell.stem())
    workdir.mkdir(parents=True, exist_ok=True)
    upstream = cast(Upstream, model.upstream.to(context.device))
    evaluation: Evaluation = task.task.evaluate(upstream, task.data, workdir, context)
    seconds = time.monotonic() - started
    record = Record(
        cell=cell,
        card=model.card,
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
            "cpu_seconds": round(cpu_seconds() - cpu_started, 3),
            "device": context.device,
            "weights_hash": model.weights_hash,
            "versions": versions(),
            "machine": this_machine().model_dump(mode="json", exclude_none=True),
        },
    )
    folder.require_present()
    folder.records.write(record, evaluation.predictions)
    logger.info("evaluate %s: done in %.0f s", cell, seconds)
    return record
