"""All checks that can refuse a run before any long work starts."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import registry
from bench.audio.sources import audio_left_out
from bench.config.data import embedded, required_audio, task_entry
from bench.config.plugin_settings import plugin_settings
from bench.config.run import RunConfig
from bench.contracts import (
    Context,
    Data,
    FingerprintsData,
    OffersTaskLoss,
    Settings,
    SplitSize,
    Task,
    TaskLoss,
)
from bench.errors import UserError
from bench.text import shortened
from bench.upstream import AnyUpstream, UpstreamModel
from bench.upstream.checkpoint import is_suite_folder, read_manifest
from bench.upstream.reduced_linears import require_runnable

logger = logging.getLogger(__name__)

# Weights, gradients' Adam moments and two checkpoints of a training stage, and the model itself.
COPIES_OF_WEIGHTS_ON_DISK = 12
SPARE_BYTES = 200_000_000


def check_disk(folder: Path, teacher: AnyUpstream | None, num_models: int = 1) -> None:
    """Refuse to begin if the checkpoints, or the models that are kept, would not fit.

    Raises:
        UserError: too little free space.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in teacher.state_dict().values()) if teacher else 0
    needed = (COPIES_OF_WEIGHTS_ON_DISK + max(0, num_models - 1)) * weights + SPARE_BYTES
    free = free_bytes(folder)
    if free < needed:
        raise UserError(
            f"Expected {needed / 1e9:.1f} GB of free disk space for --out {folder}. Found {free / 1e9:.1f} GB. "
            "Free some, or choose an --out elsewhere."
        )


def free_bytes(folder: Path) -> int:
    """Measure the free space of the disk that a folder is or will be on."""
    existing = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
    return shutil.disk_usage(existing).free


def prepare_data(data: Data) -> dict[str, str]:
    """Make missing embedded corpora; the user's own are left alone.

    Returns:
        The hash of each task's audio, if known.
    """
    return (embedded(data.embedded).prepare(data.tasks) if data.embedded else data).audio_sha256


def check_kernels(config: RunConfig) -> None:
    """Refuse models that cannot run here, whatever the device.

    Raises:
        UserError: one has int8 layers, for which this build of torch has no kernels.
    """
    for row, source in config.models.items():
        folder = Path(source.reference) if source.reference else None
        if folder is not None and is_suite_folder(folder):
            try:
                require_runnable(read_manifest(folder).shape)
            except UserError as error:
                raise UserError(f"{row}: {error}") from error


def check_compressors(config: RunConfig, teacher: AnyUpstream, context: Context) -> None:
    """Let every compressor check the teacher, the audio and the device."""
    compressors = config.compressors()
    for remark in audio_left_out(required_audio(config.data)) if compressors else ():
        logger.warning(remark)
    for name in compressors:
        audio = required_audio(config.data)
        own_context = replace(context, task_losses=task_losses(config, name))
        config.row(name).make_compressor().check(compressible(teacher, config.teacher), audio, own_context)


def require_use_of_devices(config: RunConfig) -> None:
    """Refuse several devices that no row would use.

    Raises:
        UserError: nothing is compressed, or no compressor trains on several devices.
    """
    rows = config.compressors()
    if config.devices > 1 and not any(config.row(row).make_compressor().uses_devices() for row in rows):
        found = f"only {shortened(', '.join(rows))}, without training" if rows else "none"
        raise UserError(
            f"Expected a compressor that trains, for --devices {config.devices}. Found {found}. Leave --devices out; "
            "evaluation uses one device."
        )


def compressible(teacher: AnyUpstream | None, reference: str | None) -> UpstreamModel:
    """Narrow the teacher to a model that can be compressed.

    Raises:
        UserError: it is filter banks or a plug-in.
    """
    if not isinstance(teacher, UpstreamModel):
        raise UserError(
            f"--teacher {reference} has no weights to compress, or is no HuBERT, WavLM or wav2vec 2.0. Choose another "
            "model; see `bench list teachers`."
        )
    return teacher


def task_settings(config: RunConfig, name: str) -> Settings:
    """Return a task's configuration."""
    settings: Settings = registry.load("bench.tasks", name).config_type.model_validate(config.tasks[name])
    return settings


@dataclass(frozen=True)
class TaskOnData:
    """A task with its configuration and its corpus: one object for all models and seeds of a run."""

    task: Task
    data: Any
    """An instance of one of the task's ``layouts``."""

    def check(self) -> Mapping[str, SplitSize]:
        """Let the task check its corpus; see `Task.check`."""
        return self.task.check(self.data)

    def fingerprint(self) -> str | None:
        """Hash the corpus that `check` has read; None if the task cannot."""
        return self.task.fingerprint(self.data) if isinstance(self.task, FingerprintsData) else None


def task_losses(config: RunConfig, row: str) -> dict[str, TaskLoss]:
    """Return the losses that a row's compressor learns with, by task.

    Raises:
        UserError: a task offers none, or its corpus is unusable.
    """
    losses = {}
    for name in config.row(row).make_compressor().tasks_learned():
        task = _learned_task(config, name)
        if not isinstance(task.task, OffersTaskLoss):
            raise UserError(
                f"Expected a task with a training loss in task_loss. Found {name}, which offers none. Choose another, "
                "such as ks or asr."
            )
        losses[name] = task.task.task_loss(task.data)
    return losses


def learned_data_sha256(config: RunConfig, row: str) -> dict[str, str | None]:
    """Hash the corpora that a row's compressor learns from, by task. Embedded ones are identified by their version."""
    if config.data.embedded:
        return {}
    tasks = {name: _learned_task(config, name) for name in config.row(row).make_compressor().tasks_learned()}
    return {name: task.fingerprint() for name, task in tasks.items()}


def _learned_task(config: RunConfig, name: str) -> TaskOnData:
    """Return a task with its preset's settings: how heads are evaluated does not change what a compressor learns."""
    plugin = registry.load("bench.tasks", name)
    data = task_entry(plugin, config.data.tasks[name], f"the data {config.data.name}, tasks.{name}")
    return TaskOnData(plugin(plugin_settings(plugin, config.preset, {}, f"task {name}")), data)


def tasks_on_data(config: RunConfig) -> dict[str, TaskOnData]:
    """Instantiate all tasks of a run."""
    tasks = {}
    for name in config.tasks:
        plugin = registry.load("bench.tasks", name)
        data = task_entry(plugin, config.data.tasks[name], f"the data {config.data.name}, tasks.{name}")
        tasks[name] = TaskOnData(plugin(task_settings(config, name)), data)
    return tasks
