"""The training loss of a task, as compressors get it that learn with it. They know no task by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Utterance:
    """Audio of one training utterance: a file, or a part of it."""

    path: Path
    start: int
    """First sample, at 16 kHz."""
    num_samples: int
    """Length at 16 kHz."""


class TaskLoss(Protocol):
    """A task's loss on its training split. It must be picklable, because several processes may train."""

    @property
    def task(self) -> str:
        """Name of the task."""
        ...

    @property
    def utterances(self) -> Sequence[Utterance]:
        """The training split."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that the loss depends on except the audio's content, as plain values."""
        ...

    def targets(self, index: int) -> Tensor:
        """Return what to predict for an utterance, (values,) int64 without negative values. Lengths may differ."""
        ...

    def head(self, num_states: int, dim: int) -> nn.Module:
        """Return a new head, randomly initialised by torch's generator.

        Args:
            num_states: hidden states of the upstream, ``num_layers + 1``.
            dim: their width.

        Returns:
            A module that is called with ``states``, as `Upstream` returns them, ``num_frames`` (batch,), and
            ``targets`` (batch, values) int64, padded with -1. It returns the mean loss, a scalar.
        """
        ...


@runtime_checkable
class OffersTaskLoss(Protocol):
    """Optional method of a task whose loss compressors can use."""

    def task_loss(self, data: Any) -> TaskLoss:
        """Return the loss on the training split of a corpus.

        Args:
            data: see `bench.contracts.Task.check`.

        Raises:
            UserError: the corpus has no training split of its own, or is unusable.
        """
        ...
