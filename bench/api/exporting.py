"""Exporting models in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.api.models import Model, reference_to
from bench.exports.export import export_model
from bench.exports.options import ExportOptions


def export(model: Model, *, to: str, out: str | Path, **options: Any) -> Path:
    """Write a model for other tools.

    Args:
        model: a model reference, or a model of this suite in memory.
        to: ``hf``, ``onnx``, ``dphubert`` or ``s3prl``.
        out: the new file (``onnx``, ``dphubert``) or folder (``hf``, ``s3prl``).
        options: ``int8`` and ``opset`` for ``onnx``, and ``push``; see `bench.exports.options.ExportOptions`.

    Returns:
        The file or folder.

    Raises:
        UserError: the target cannot express the model or an option, a package is missing, or ``out`` exists.
    """
    return export_model(reference_to(model), to, Path(out), ExportOptions(**options))
