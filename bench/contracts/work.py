"""How much work an item of a run is. Plans print it; nothing depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bench.contracts.context import Context
from bench.contracts.task import SplitSize


@dataclass(frozen=True)
class TrainingWork:
    """The work of one call of a compressor."""

    updates: int
    """Optimiser updates."""
    macs: int
    """MACs: a forward pass of the teacher, and three times those of a forward pass of what is trained."""
    audio_s: float | None
    """The most seconds of speech in the batches of all updates. None: unknown."""


@dataclass(frozen=True)
class EvaluationWork:
    """The work of one cell."""

    updates: int
    """Optimiser updates of the head."""
    num_utterances: int
    """Utterances that pass through the model, each time counted."""
    audio_s: float
    """Their total duration, without padding."""
    is_stored: bool
    """Whether the features are stored, so that further seeds compute none."""
    num_learning_rates: int = 1
    """Learning rates that the cell tries, each in a training of its own. 1: it searches none."""


@runtime_checkable
class EstimatesWork(Protocol):
    """Optional method of a task's configuration, so that a plan can say how much work a cell is."""

    def evaluation_work(self, sizes: Mapping[str, SplitSize], context: Context) -> EvaluationWork:
        """Estimate the work of one cell if no features are stored yet.

        Args:
            sizes: the result of the task's ``check``.
            context: seed, device and protocol of the cell.
        """
        ...


@runtime_checkable
class CountsHead(Protocol):
    """Optional method of a task's configuration, so that a plan can count the work of the head too."""

    def head_macs(self, sizes: Mapping[str, SplitSize], context: Context, num_states: int, dim: int) -> int:
        """Count the MACs of a cell's head, three forward passes for each training pass.

        Args:
            sizes: the result of the task's ``check``.
            context: seed, device and protocol of the cell.
            num_states: hidden states of the upstream.
            dim: their width.
        """
        ...


@runtime_checkable
class MeasuresData(Protocol):
    """Optional method of a task, so that a plan can read a corpus without what evaluation needs."""

    def sizes(self, data: object) -> Mapping[str, SplitSize]:
        """Check a corpus and return its sizes, like `Task.check`, which also checks what evaluation needs."""
        ...
