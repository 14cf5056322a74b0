"""The model to export, with what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.files.paths import expanded
from bench.upstream import UpstreamModel, load_upstream
from bench.upstream.checkpoint import is_suite_folder, read_manifest


@dataclass(frozen=True)
class Subject:
    """A model in evaluation mode on the CPU, and where it came from."""

    model: UpstreamModel
    reference: str
    """As the user named it."""
    name: str = "model"
    """Name of the exported model: of its file or folder, or its id on the hub."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Of a suite folder. Empty for other models."""

    @property
    def path(self) -> Path:
        """The reference as a path, which exists only for local models."""
        return expanded(self.reference)


def load_subject(reference: str, name: str) -> Subject:
    """Load any model reference for an export.

    Args:
        reference: of the model.
        name: of the exported model.

    Raises:
        UserError: there is no such model, or it has no weights.
    """
    model = load_upstream(reference)
    if not isinstance(model, UpstreamModel):
        raise UserError(f"{reference} has no weights to export. Name a model; see `bench list teachers`.")
    path = expanded(reference)
    is_ours = path.is_dir() and is_suite_folder(path)
    return Subject(model, reference, name, read_manifest(path).provenance if is_ours else {})
