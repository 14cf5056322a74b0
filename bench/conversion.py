"""Saves any model reference as a suite folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.errors import UserError
from bench.files.tensors import save_tensors
from bench.provenance import now, versions
from bench.upstream import UpstreamModel, load_upstream, save_upstream
from bench.upstream.conversion import PROJECTIONS, read_distillation_projections


def convert_to_folder(source: str, destination: Path) -> Path:
    """Convert a model. The distillation projections of a DPHuBERT checkpoint are stored in a separate file.

    Raises:
        UserError: the destination exists, or the source is not a model with weights.
    """
    if destination.exists():
        raise UserError(f"{destination} exists. Choose another folder, or delete it.")
    upstream = load_upstream(source)
    if not isinstance(upstream, UpstreamModel):
        raise UserError(f"{source} has no weights to convert. Name a model; see `bench list teachers`.")
    provenance = {"converted_from": source, "versions": versions(), "finished": now()}
    with tempfile.TemporaryDirectory() as folder:
        save_upstream(upstream, destination, provenance, beside=_projections(Path(source), Path(folder)))
    return destination


def _projections(source: Path, folder: Path) -> list[Path]:
    projections = read_distillation_projections(source) if source.is_file() else {}
    if not projections:
        return []
    # Layers of one group share a projection, but safetensors refuses shared memory.
    save_tensors({key: value.clone() for key, value in projections.items()}, folder / PROJECTIONS)
    return [folder / PROJECTIONS]
