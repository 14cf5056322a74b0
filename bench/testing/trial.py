"""One call of a compressor that can be repeated, measured, and stopped as by a power cut."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from bench.contracts import AudioSource, Compressor, Context
from bench.testing.material import tiny_teacher, write_speech
from bench.upstream import UpstreamModel, weights_hash

STOPPED = 75
"""Exit code of a process that was stopped on purpose."""


@dataclass(frozen=True)
class Trial:
    """Everything that a call depends on, as plain values, so that another process can make exactly the same call."""

    compressor: type[Compressor]
    configuration: str
    """An instance of the compressor's ``config_type`` as JSON."""
    audio: AudioSource
    teacher: str = "hubert"
    """One of `bench.testing.TEACHER_SHAPES`."""
    teacher_seed: int = 0
    seed: int = 0

    def instance(self) -> Compressor:
        """Return the compressor with its configuration."""
        return self.compressor(self.compressor.config_type.model_validate_json(self.configuration))

    def run(self, workdir: Path, teacher: UpstreamModel | None = None) -> dict[str, UpstreamModel]:
        """Make the call in this process; pass ``teacher`` to inspect it afterwards."""
        teacher = teacher or tiny_teacher(self.teacher, self.teacher_seed)
        workdir.mkdir(parents=True, exist_ok=True)
        return self.instance().compress(teacher, self.audio, workdir, Context(seed=self.seed))

    def measured(self, workdir: Path, at_most: int | None = None) -> Outcome:
        """Make the call in this process, and count torch's operations.

        Args:
            workdir: created if missing.
            at_most: the call is aborted after this many operations.

        Raises:
            TooManyOperationsError: there were more.
        """
        with OperationCounter(at_most, _give_up) as counter:
            models = self.run(workdir)
        return Outcome(models, workdir, counter.count)

    def stop_after(self, num_operations: int, workdir: Path) -> None:
        """Make the call in a separate process, which exits after this many operations without any cleanup.

        Raises:
            AssertionError: the process ended otherwise.
        """
        # As many threads as here, because another number may change the rounding of sums.
        arguments = (self, num_operations, workdir, torch.get_num_threads())
        process = multiprocessing.get_context("spawn").Process(target=_run_and_stop, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == STOPPED, (
            f"Expected the compression to take more than {num_operations} operations of torch in a process of its own, "
            f"as it does in this one. Found it ended with exit code {process.exitcode}; see standard error."
        )


@dataclass(frozen=True)
class Outcome:
    """The result of a call."""

    models: Mapping[str, UpstreamModel]
    workdir: Path
    num_operations: int
    """Number of calls of torch's functions: a measure of work that is the same on every machine."""

    def hashes(self) -> dict[str, str]:
        """Identify the models' shapes and weights."""
        return {name: weights_hash(model) for name, model in self.models.items()}


class TooManyOperationsError(Exception):
    """A call does more work than it should."""


class OperationCounter(TorchFunctionMode):
    """Counts the calls of torch's functions, and calls a function when there are too many."""

    def __init__(self, limit: int | None, at_limit: Callable[[], object]) -> None:
        super().__init__()
        self.count = 0
        self.limit = limit
        self.at_limit = at_limit

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if self.count == self.limit:
            self.at_limit()
        self.count += 1
        return func(*args, **(kwargs or {}))


@cache
def whole(trial: Trial) -> Outcome:
    """Make a call from beginning to end in its own folder; only once, even if several tests use the result."""
    return trial.measured(_kept_folder() / "work")


@cache
def speech() -> AudioSource:
    """Return the training audio of all calls."""
    folder = _kept_folder()
    write_speech(folder)
    return AudioSource(root=folder)


_folders: list[tempfile.TemporaryDirectory[str]] = []
"""Deleted when the process ends."""


def _kept_folder() -> Path:
    _folders.append(tempfile.TemporaryDirectory(prefix="conformance-"))
    return Path(_folders[-1].name)


def _give_up() -> None:
    raise TooManyOperationsError


def _run_and_stop(trial: Trial, num_operations: int, workdir: Path, num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    with OperationCounter(num_operations, lambda: os._exit(STOPPED)):
        trial.run(workdir)
