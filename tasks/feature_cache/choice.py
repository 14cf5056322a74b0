"""Which features a head trains on, and whether they are stored. Importing this module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["means", "frames"]
"""``means``: every hidden state averaged over time, (1, states, dim) float32. Exact for heads that are linear up to
their mean pooling. ``frames``: (frames, states, dim) float16."""

Precision = Literal["fp32", "bf16", "fp16"]
"""Precision of an upstream's forward pass."""

FrameCache = Literal["auto", "disk", "none"]
"""Whether frames are stored. ``auto``: on a CPU."""


@dataclass(frozen=True)
class FeatureChoice:
    """The features of a head in the cached protocol."""

    kind: Kind
    device: str
    precision: Precision = "fp32"
    frame_cache: FrameCache = "auto"

    @property
    def is_stored(self) -> bool:
        """Whether they are stored on disk.

        Means are small. A GPU computes frames in a fraction of the time that a disk takes to read them.
        """
        if self.kind == "means" or self.frame_cache == "disk":
            return True
        return self.frame_cache == "auto" and self.device == "cpu"

    def settings(self) -> dict[str, str | bool]:
        """Return what results record."""
        recomputed = {} if self.is_stored else {"features_are_stored": False}
        precision = {} if self.precision == "fp32" else {"feature_precision": self.precision}
        return {"features": self.kind, **recomputed, **precision}
