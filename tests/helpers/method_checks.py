"""What the tests of all methods share: a tiny teacher, and runs that are killed."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from bench import registry
from bench.contracts import AudioSource, Context, WarmStart
from bench.testing import TEACHER_SHAPES
from bench.upstream import UpstreamModel, load_folder
from bench.upstream.checkpoint import weights_hash

TEACHER_SHAPE = TEACHER_SHAPES["hubert"]

PROCESSES = multiprocessing.get_context("forkserver")
"""Processes that begin with what takes seconds to import."""
PROCESSES.set_forkserver_preload(["compressors.training.loop", __name__])


def tiny_teacher(seed: int = 0) -> UpstreamModel:
    torch.manual_seed(seed)
    return UpstreamModel(TEACHER_SHAPE).eval()


def warm_start(folder: Path | None) -> WarmStart | None:
    return WarmStart(load_folder(folder), folder) if folder else None


def assert_kills_change_nothing(
    compressor: Any,
    stages: Sequence[str],
    speech_folder: Path,
    tmp_path: Path,
    *,
    model: str = "",
    start: Path | None = None,
) -> None:
    """SIGKILL once in each stage, of 40 updates or more, at whatever point it then is, in a process of its own.

    ``model`` is the one that is compared, where there are several; ``start`` the folder of what they go on from.
    """
    audio = AudioSource(root=speech_folder)
    model = model or compressor.name
    context = Context(seed=5, start=warm_start(start))
    whole = compressor.compress(tiny_teacher(), audio, tmp_path / "whole", context)[model]
    workdir = tmp_path / "killed"
    settings = compressor.config.model_dump_json()
    for stage in stages:
        # Its environment is that of the first process of this kind; a test may have changed its own since.
        arguments = (dict(os.environ), compressor.name, settings, speech_folder, workdir, start)
        child = PROCESSES.Process(target=_compress, args=arguments)
        child.start()
        _wait_for(workdir / f"{stage}.ckpt", child)
        child.kill()
        child.join()
        assert torch.load(workdir / f"{stage}.ckpt", weights_only=True)["global_step"] < 40
    resumed = compressor.compress(tiny_teacher(), audio, workdir, context)[model]
    assert weights_hash(resumed) == weights_hash(whole)
    history = Path("beside") / model / "training.csv"
    assert (workdir / history).read_text() == (tmp_path / "whole" / history).read_text()


def _compress(
    environment: Mapping[str, str], name: str, settings: str, speech_folder: Path, workdir: Path, start: Path | None
) -> None:
    os.environ.update(environment)
    compressor = registry.load("bench.compressors", name)
    config = compressor.config_type.model_validate_json(settings)
    context = Context(seed=5, start=warm_start(start))
    compressor(config).compress(tiny_teacher(), AudioSource(root=speech_folder), workdir, context)


def _wait_for(path: Path, child: ForkServerProcess) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert child.is_alive(), "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
