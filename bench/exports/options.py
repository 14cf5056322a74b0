"""The settings of an export."""

from __future__ import annotations

from dataclasses import dataclass

OPSETS = range(18, 23)
"""Versions of ONNX's operators that torch's exporter writes and ONNX Runtime runs. The exporter turns 17 into 18,
and ONNX Runtime refuses the masks of version 23's attention."""
DEFAULT_OPSET = 18


@dataclass(frozen=True)
class ExportOptions:
    """Settings in addition to the model, the target and the destination."""

    int8: bool = False
    """Quantise the weights of linear layers (``onnx``)."""
    opset: int | None = None
    """Version of ONNX's operators, one of `OPSETS` (``onnx``). None: `DEFAULT_OPSET`."""
    push: str | None = None
    """Id of a repository on Hugging Face's hub to upload the result to."""
