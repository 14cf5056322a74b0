"""One evaluation on a task that can be repeated and measured."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from bench.contracts import Context, Evaluation, FingerprintsData, Settings, SplitSize, Task, Upstream
from bench.testing.material import tiny_teacher
from bench.testing.operations import OperationCounter
from bench.testing.trial import kept_folder
from bench.upstream import AnyUpstream, FbankUpstream


@dataclass(frozen=True)
class TaskTrial:
    """Everything that an evaluation depends on, as plain values, so that another process can repeat it exactly."""

    task: type[Task]
    configuration: str
    """An instance of the task's ``config_type`` as JSON."""
    layout: type[Settings]
    entry: str
    """An instance of ``layout`` as JSON, with absolute paths."""
    upstream: str = "hubert"
    """One of `bench.testing.TEACHER_SHAPES`, or ``fbank``."""
    upstream_seed: int = 0
    seed: int = 0

    def instance(self) -> Task:
        """Return a new task with its configuration."""
        return self.task(self.task.config_type.model_validate_json(self.configuration))

    def data(self) -> Settings:
        """Return the task's data."""
        return self.layout.model_validate_json(self.entry)

    def check(self, data: Settings | None = None) -> Mapping[str, SplitSize]:
        """Let a new task check its data, or other data."""
        with _own_cache(kept_folder()):
            return self.instance().check(data or self.data())

    def fingerprint(self, data: Settings) -> str:
        """Let a new task, which has the method, hash data."""
        task = self.instance()
        with _own_cache(kept_folder()):
            task.check(data)
            return cast(FingerprintsData, task).fingerprint(data)

    def make_upstream(self) -> AnyUpstream:
        """Return a new upstream."""
        return tiny_upstream(self.upstream, self.upstream_seed)

    def run(self, workdir: Path, upstream: AnyUpstream | None = None) -> Evaluation:
        """Check and evaluate in this process.

        Args:
            workdir: created if missing. The suite's cache folder is next to it, so no other evaluation shares it.
            upstream: see `make_upstream`. Default: a new one, because another process cannot take it from this one.
        """
        model = upstream or self.make_upstream()
        workdir.mkdir(parents=True, exist_ok=True)
        task = self.instance()
        with _own_cache(workdir.with_name(f"{workdir.name}-cache")):
            task.check(self.data())
            return task.evaluate(cast(Upstream, model), self.data(), workdir, Context(seed=self.seed))

    def measured(self, workdir: Path) -> TaskOutcome:
        """Evaluate in this process, and count torch's operations."""
        upstream = self.make_upstream()
        with OperationCounter() as counter:
            evaluation = self.run(workdir, upstream)
        return TaskOutcome(evaluation, workdir, counter.count)


@dataclass(frozen=True)
class TaskOutcome:
    """The result of an evaluation."""

    evaluation: Evaluation
    workdir: Path
    num_operations: int
    """Number of calls of torch's functions."""

    def results(self) -> tuple[dict[str, dict[str, float]], list[dict[str, Any]]]:
        """Return scores and predictions as plain values, to compare them."""
        scores = {split: dict(values) for split, values in self.evaluation.scores.items()}
        return scores, [dict(row) for row in self.evaluation.predictions]


@cache
def whole_evaluation(trial: TaskTrial) -> TaskOutcome:
    """Evaluate from beginning to end in a folder of its own; only once, even if several tests use the result."""
    return trial.measured(kept_folder() / "work")


def tiny_upstream(kind: str, seed: int = 0) -> AnyUpstream:
    """Return filter banks or a tiny model, in evaluation mode."""
    return FbankUpstream().eval() if kind == "fbank" else tiny_teacher(kind, seed)


@contextmanager
def _own_cache(folder: Path) -> Iterator[None]:
    """Let the suite's cache be a folder, so that evaluations share no features."""
    name = "SUPERB_BENCH_CACHE"
    before = os.environ.get(name)
    os.environ[name] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
