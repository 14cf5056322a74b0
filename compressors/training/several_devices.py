"""Training on several devices: checks, and what each of the processes does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts import AudioSource, Context, WarmStart
from bench.errors import UserError
from bench.store.claims import claimed
from bench.upstream import UpstreamModel
from bench.upstream.checkpoint import load_folder, save_upstream
from bench.workers.ranks import current_rank
from compressors.settings import TrainingConfig

if TYPE_CHECKING:
    from compressors.training.preparation import TrainingCompressor

HANDED_OVER = "handed-over"
"""Folder, in the work folder, of the models that the processes read."""


def require_devices(config: TrainingConfig, context: Context) -> None:
    """Refuse a number of devices that cannot share the work.

    Args:
        config: ``accumulate_batches`` counts the batches of all devices together.
        context: names the kind and number of devices.

    Raises:
        UserError: a wrong number of devices.
    """
    if config.accumulate_batches % context.devices:
        raise UserError(
            f"Expected accumulate_batches, the batches of an update, to be a multiple of --devices {context.devices}. "
            f"Found {config.accumulate_batches}. Choose another --devices, or --set "
            f"accumulate_batches={context.devices} and a smaller seconds_per_batch."
        )


def train_together(
    compressor: TrainingCompressor, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
) -> None:
    """Run `TrainingCompressor.train` in `Context.devices` processes. Its checkpoints hold the result.

    Every process makes the objective itself: from settings, and from models that it reads from the disk.

    Args:
        compressor: the compressor.
        teacher: the model to compress.
        audio: the training audio.
        workdir: see `bench.contracts.Compressor.compress`.
        context: see `bench.contracts.Compressor.compress`.

    Raises:
        UserError: what the first process to fail said.
    """
    from bench.workers.together import run_together  # Imported here: torch.distributed takes a second to import.

    folder = workdir / HANDED_OVER
    shutil.rmtree(folder, ignore_errors=True)
    start_folder = context.start.folder if context.start else None
    try:
        save_upstream(teacher, folder / "teacher", {})
        if context.start:
            save_upstream(context.start.model, folder / "start", {})
        work = partial(_train, compressor, audio, workdir, replace(context, start=None), start_folder)
        run_together(context.devices, context.device, work)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _train(
    compressor: TrainingCompressor, audio: AudioSource, workdir: Path, context: Context, start_folder: Path | None
) -> None:
    """Train as one of the processes."""
    folder = workdir / HANDED_OVER
    teacher = load_folder(folder / "teacher")
    if (folder / "start").exists():
        context = replace(context, start=WarmStart(load_folder(folder / "start"), start_folder))
    with alone_in(workdir):
        compressor.train(teacher, audio, workdir, context)


@contextmanager
def alone_in(workdir: Path) -> Iterator[None]:
    """Keep other processes out that write into a work folder: those of an earlier call may outlive it for seconds."""
    if current_rank().is_first:
        with claimed(workdir / "training.lock", wait=True):
            yield
    else:
        yield
