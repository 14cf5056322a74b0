"""The settings of an export."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExportOptions:
    """Settings that only some targets have."""

    int8: bool = False
    """Quantise the weights of linear layers (``onnx``)."""
