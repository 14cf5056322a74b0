"""Models in Python: loading them, and naming those that exist in memory only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from torch import nn

from bench.config.row_names import require_row_name
from bench.errors import UserError
from bench.upstream import AnyUpstream, model_name, reference, weights_hash
from bench.upstream.plugins import PREFIX, refer_to

Model = str | Path | nn.Module
"""A model reference, a model that `load_upstream` or `compress` returned, or any module that satisfies
`bench.contracts.Upstream`."""


@dataclass(frozen=True)
class _Origin:
    reference: str
    weights_hash: str


_origins: WeakKeyDictionary[nn.Module, _Origin] = WeakKeyDictionary()


def load_upstream(model: str | Path) -> AnyUpstream:
    """Load any model reference, in evaluation mode.

    Args:
        model: a folder or file, a model of Hugging Face's hub, a torchaudio bundle, ``mini-hubert`` or another
            reference; ``bench list teachers`` lists them.

    Returns:
        A ``torch.nn.Module``. ``model(waveforms, lengths)`` takes (batch, samples) float32 at 16 kHz and the number of
        valid samples of each utterance, and returns the hidden states, ``num_layers + 1`` tensors (batch, frames, dim),
        and the number of valid frames of each utterance.

    Raises:
        UserError: there is no such model, or its files are damaged, unsafe or of another architecture.
    """
    found = _spelled(model)
    upstream = reference.load_upstream(found)
    _origins[upstream] = _Origin(found, weights_hash(upstream))
    return upstream


def reference_to(model: Model, name: str | None = None) -> str:
    """Return a reference that finds this model in this process.

    Args:
        model: the model.
        name: its row in tables. Default: the name of its file, hub id or class.

    Raises:
        UserError: it is no model, or the name cannot be a row's.
    """
    if name is not None:
        require_row_name(name)
    if isinstance(model, nn.Module):
        origin = _origins.get(model)
        # A model that was trained further is not what its files contain.
        if origin is None or origin.weights_hash != weights_hash(model):
            own_name = type(model).__name__ if origin is None else model_name(origin.reference)
            return refer_to(model, name or own_name)
        model = origin.reference
    found = _spelled(model)
    if name is None or model_name(found) == name:
        return found
    return refer_to(reference.load_upstream(found), name)


def _spelled(model: object) -> str:
    """Return a reference, with the path of a file or folder in full."""
    if not isinstance(model, str | Path):
        raise UserError(
            "Expected a model reference or a path, such as 'mini-hubert'. "
            f"Found an object of type {type(model).__name__}."
        )
    try:
        return str(Path(model).resolve()) if Path(model).exists() else str(model)
    except OSError:
        # It cannot be a path, for example because it is too long.
        return str(model)


def references_to(models: Model | Sequence[Model] | Mapping[str, Model]) -> tuple[str, ...]:
    """Return a reference for each model.

    Raises:
        UserError: there is none, or two models have the same name.
    """
    if isinstance(models, Mapping):
        found = [reference_to(model, name) for name, model in models.items()]
    else:
        several = models if isinstance(models, Sequence) and not isinstance(models, str) else [models]
        found = [reference_to(model) for model in several]
    names = [model_name(one) for one in found]
    if not names or len(set(names)) < len(names):
        raise UserError(
            f"Expected models with different names. Found {', '.join(names) or 'none'}. "
            'Name them: {"teacher": .., "mine": ..}.'
        )
    return tuple(found)


def in_memory_only(references: Sequence[str | None]) -> bool:
    """Return whether a reference means nothing to other processes."""
    return any(one is not None and one.startswith(PREFIX) for one in references)
