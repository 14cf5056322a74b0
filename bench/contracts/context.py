"""Where and how a compressor or a task runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.upstream import UpstreamModel


FeatureProtocol = Literal["cached", "s3prl"]
"""How a task gets an upstream's features. ``cached``: once an utterance, alone and unpadded, kept on disk and reused
over steps, learning rates, seeds and tasks. ``s3prl``: at every step anew, in the recipe's own padded batches."""


@dataclass(frozen=True)
class WarmStart:
    """An existing model that a compression goes on from, such as last month's."""

    model: UpstreamModel
    """Which stays as it is."""
    folder: Path | None = None
    """With the files that lie beside its weights, where it is a suite folder."""


@dataclass(frozen=True)
class Context:
    """Where and how a compressor or a task runs."""

    seed: int = 0
    """Seeds everything random in the call."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Already resolved and known to exist."""
    protocol: FeatureProtocol = "cached"
    """How a task gets its features."""
    model: str = ""
    """Name of the row that a task evaluates, for people who look at what it keeps."""
    cache_limit_bytes: int | None = None
    """The most that all cached features may hold together; None is no limit but the disk's."""
    shared_workdir: Path | None = None
    """Where a task keeps what all seeds of one model share, such as a learning rate it has searched; claims guard it
    from processes that run other seeds. None: nothing is shared."""
    start: WarmStart | None = None
    """What a compressor whose settings are `WarmStarting` goes on from. None: it begins from the teacher."""
