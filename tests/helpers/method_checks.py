"""What the tests of all methods share: a tiny teacher, and runs that are killed or interrupted."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from bench import registry
from bench.contracts import AudioSource, Context, TaskLoss, WarmStart
from bench.testing import TEACHER_SHAPES
from bench.upstream import UpstreamModel, load_folder
from bench.upstream.checkpoint import weights_hash
from compressors.training.callbacks import Checkpoints
from tests.helpers.programs import PROCESSES

TEACHER_SHAPE = TEACHER_SHAPES["hubert"]


def tiny_teacher(seed: int = 0) -> UpstreamModel:
    torch.manual_seed(seed)
    return UpstreamModel(TEACHER_SHAPE).eval()


def warm_start(folder: Path | None) -> WarmStart | None:
    return WarmStart(load_folder(folder), folder) if folder else None


class PowerCut(BaseException):
    """Ends a stage in the middle of training; nothing in the suite catches it."""


def assert_kills_change_nothing(compressor: Any, stages: Sequence[str], speech_folder: Path, tmp_path: Path) -> None:
    """SIGKILL once in each stage, of 40 updates or more, wherever it is at that moment, in a process of its own."""
    audio = AudioSource(root=speech_folder)
    workdir = tmp_path / "killed"
    settings = compressor.config.model_dump_json()
    for stage in stages:
        # The environment is that of the first process of this kind; a test may have changed its own since.
        arguments = (dict(os.environ), compressor.name, settings, speech_folder, workdir)
        child = PROCESSES.Process(target=_compress, args=arguments)
        child.start()
        _wait_for(workdir / f"{stage}.ckpt", child)
        child.kill()
        child.join()
        assert torch.load(workdir / f"{stage}.ckpt", weights_only=True)["global_step"] < 40
    _assert_ends_as_uninterrupted(compressor, audio, tmp_path, workdir, Context(seed=5), compressor.name)


def assert_interruptions_change_nothing(
    compressor: Any,
    stages: Sequence[str],
    speech_folder: Path,
    tmp_path: Path,
    *,
    model: str = "",
    start: Path | None = None,
    task_losses: Mapping[str, TaskLoss] | None = None,
) -> None:
    """Interrupt each stage one update after its first checkpoint, in this process, and finish.

    Args:
        compressor: whose checkpoints come every 2 updates.
        stages: those that are interrupted, in their order.
        speech_folder: the audio.
        tmp_path: an empty folder.
        model: the one that is compared, if there are several.
        start: the folder of the model that the compression continues from.
        task_losses: see `bench.contracts.Context`.
    """
    audio = AudioSource(root=speech_folder)
    workdir = tmp_path / "interrupted"
    context = Context(seed=5, start=warm_start(start), task_losses=task_losses or {})
    for stage in stages:
        with _interrupted_in(stage, workdir), pytest.raises(PowerCut):
            compressor.compress(tiny_teacher(), audio, workdir, context)
    _assert_ends_as_uninterrupted(compressor, audio, tmp_path, workdir, context, model or compressor.name)


def _assert_ends_as_uninterrupted(
    compressor: Any, audio: AudioSource, tmp_path: Path, workdir: Path, context: Context, model: str
) -> None:
    whole = compressor.compress(tiny_teacher(), audio, tmp_path / "whole", context)[model]
    resumed = compressor.compress(tiny_teacher(), audio, workdir, context)[model]
    assert weights_hash(resumed) == weights_hash(whole)
    history = Path("beside") / model / "training.csv"
    assert (workdir / history).read_text() == (tmp_path / "whole" / history).read_text()


@contextlib.contextmanager
def _interrupted_in(stage: str, workdir: Path) -> Iterator[None]:
    checkpoint = workdir / f"{stage}.ckpt"
    keep = Checkpoints.on_train_batch_end

    def keep_or_end(self: Checkpoints, *arguments: Any) -> None:
        if checkpoint.exists():
            raise PowerCut
        keep(self, *arguments)

    with mock.patch.object(Checkpoints, "on_train_batch_end", keep_or_end):
        yield


def _compress(environment: Mapping[str, str], name: str, settings: str, speech_folder: Path, workdir: Path) -> None:
    os.environ.update(environment)
    compressor = registry.load("bench.compressors", name)
    config = compressor.config_type.model_validate_json(settings)
    compressor(config).compress(tiny_teacher(), AudioSource(root=speech_folder), workdir, Context(seed=5))


def _wait_for(path: Path, child: ForkServerProcess) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert child.is_alive(), "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
