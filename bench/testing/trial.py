"""One call of a compressor that can be repeated and measured."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.contracts import AudioSource, Compressor, Context
from bench.testing.material import tiny_teacher, write_speech
from bench.testing.operations import OperationCounter
from bench.upstream import UpstreamModel, weights_hash


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
        with OperationCounter(at_most) as counter:
            models = self.run(workdir)
        return Outcome(models, workdir, counter.count)


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


@cache
def whole(trial: Trial) -> Outcome:
    """Make a call from beginning to end in its own folder; only once, even if several tests use the result."""
    return trial.measured(kept_folder() / "work")


@cache
def speech() -> AudioSource:
    """Return the training audio of all calls."""
    folder = kept_folder()
    write_speech(folder)
    return AudioSource(root=folder)


_folders: list[tempfile.TemporaryDirectory[str]] = []
"""Deleted when the process ends."""


def kept_folder() -> Path:
    """Make a folder that is deleted when the process ends."""
    _folders.append(tempfile.TemporaryDirectory(prefix="conformance-"))
    return Path(_folders[-1].name)
