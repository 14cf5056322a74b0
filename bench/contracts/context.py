"""Where and how a compressor or a task runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.contracts.task_loss import TaskLoss

if TYPE_CHECKING:
    from bench.upstream import UpstreamModel


FeatureProtocol = Literal["cached", "s3prl"]
"""How a task gets an upstream's features. ``cached``: computed once per utterance, alone and unpadded, stored on disk
and reused over steps, learning rates, seeds and tasks. ``s3prl``: computed again at every step, in the recipe's own
padded batches.
"""


@dataclass(frozen=True)
class WarmStart:
    """An existing model that a compression starts from, such as last month's."""

    model: UpstreamModel
    """It is not changed."""
    folder: Path | None = None
    """The suite folder that the model was read from, if any. It may hold further files of the method."""


@dataclass(frozen=True)
class Context:
    """Where and how a compressor or a task runs."""

    seed: int = 0
    """Seed of everything random in the call."""
    device: Literal["cpu", "cuda"] = "cpu"
    """The device, already resolved and known to exist."""
    devices: int = 1
    """Number of devices that share each update of a training, with one process each. They change the result by rounding
    only. For compressors that use several, see `Compressor.uses_devices`."""
    protocol: FeatureProtocol = "cached"
    """How a task gets its features."""
    model: str = ""
    """Name of the row that a task evaluates, for people who look at its working files."""
    cache_limit_bytes: int | None = None
    """Limit of all cached features together, in bytes. None: only the disk limits them."""
    shared_workdir: Path | None = None
    """Folder for what all seeds of one model share in a task, such as a learning rate it has searched. File locks guard
    it from processes that run other seeds. None: nothing is shared.
    """
    seed_workdirs: Mapping[int, Path] = field(default_factory=dict)
    """The unfinished cells of this model and task, including this one: seed to the cell's folder. A task may train
    their heads with its own and leave them there. A file lock in ``shared_workdir`` must guard them."""
    start: WarmStart | None = None
    """The model of a warm start, for compressors that support one. None: compression starts from the teacher."""
    task_losses: Mapping[str, TaskLoss] = field(default_factory=dict)
    """By task, the losses that a compressor learns with; see `Compressor.tasks_learned`."""
