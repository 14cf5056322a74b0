"""Decompose linear layers by singular values, of the weights alone or with whitened inputs.

Source: Wang et al., SVD-LLM (arXiv 2403.07378) section 3.1 for whitening. If ``M`` is the second moment of the inputs
and ``S S^T = M``, dropping components of ``W S`` removes exactly their energy from the outputs of ``W``. We take roots
from eigenvalues instead of a Cholesky decomposition, because the moments of few inputs are singular.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.progress import tracked
from bench.upstream import UpstreamModel
from compressors.training.kept_tensors import Snapshots, kept_tensors

LEAST_MOMENT = 1e-6
"""Least moment of every direction of a layer's inputs, as a share of the largest."""

_DONE, _FRAMES = "batches done", "frames"
"""Keys of a snapshot in addition to the paths of layers."""
_SHARED = ("q_proj", "k_proj", "v_proj")
"""Layers of an attention block that read the same inputs."""


class Factors(NamedTuple):
    """Two factors of a weight (outputs, inputs). Components are sorted by energy, the largest first."""

    down: Tensor
    """(components, inputs)."""
    up: Tensor
    """(outputs, components); ``up @ down`` is the weight."""
    singular_values: Tensor
    """(components,), in descending order."""

    def truncated(self, rank: int) -> tuple[Tensor, Tensor]:
        """Return the two factors of the first components, contiguous."""
        return self.down[:rank].contiguous(), self.up[:, :rank].contiguous()


class Whitening(NamedTuple):
    """The second moment of a layer's inputs, by its eigenvectors."""

    directions: Tensor
    """(inputs, inputs), one eigenvector per column."""
    roots: Tensor
    """Square roots of the eigenvalues, (inputs,)."""


def whitening_of(moment: Tensor) -> Whitening:
    """Decompose a second moment, (inputs, inputs) float64, on its device."""
    squares, directions = torch.linalg.eigh(moment)
    return Whitening(directions, squares.clamp(min=LEAST_MOMENT * float(squares.max())).sqrt())


def factors_of(weight: Tensor, whitening: Whitening | None) -> Factors:
    """Decompose a weight on its device in float64. Both factors get the root of the singular values, to help training.

    Args:
        weight: (outputs, inputs) float32.
        whitening: of the inputs. None: all directions count the same.

    Returns:
        The factors, on the CPU.
    """
    wide = weight.detach().double()
    if whitening is None:
        left, values, right = torch.linalg.svd(wide, full_matrices=False)
    else:
        directions, roots = (each.to(wide.device) for each in whitening)
        left, values, right = torch.linalg.svd(wide @ directions * roots, full_matrices=False)
        right = right / roots @ directions.T
    root = values.sqrt()
    return Factors((root[:, None] * right).float().cpu(), (left * root).float().cpu(), values.cpu())


@torch.no_grad()
def second_moments(
    model: UpstreamModel, linears: Sequence[str], batches: Sequence[Tensor], snapshots: Snapshots | None = None
) -> dict[str, Tensor]:
    """Compute the second moments of the inputs of linear layers, over all frames of a model in evaluation mode.

    Args:
        model: the model, on any device.
        linears: paths of the layers.
        batches: waveforms (batch, samples) without padding.
        snapshots: store the sums, to resume an interrupted call.

    Returns:
        (inputs, inputs) float64 on the model's device, by path. Layers that share their inputs share one tensor.
    """
    device = model.layer_norm.weight.device
    sums = {name: value.to(device) for name, value in ((snapshots.last() if snapshots else None) or {}).items()}
    done, num_frames = (int(sums.pop(name, torch.tensor(0))) for name in (_DONE, _FRAMES))
    sources = _sources(linears)
    with _listening(model, set(sources.values()), sums):
        for index in tracked(range(done, len(batches)), "inputs of linear layers", len(batches), "batches", done):
            waveforms = batches[index].to(device)
            num_frames += len(waveforms) * model.config.num_frames(waveforms.shape[1])
            model(waveforms)
            if snapshots:
                counts = {_DONE: torch.tensor(index + 1), _FRAMES: torch.tensor(num_frames)}
                snapshots.keep(lambda counts=counts: sums | counts, now=index + 1 == len(batches))  # type: ignore[misc]
    moments = {path: total / num_frames for path, total in sums.items()}
    return {path: moments[source] for path, source in sources.items()}


def _sources(linears: Sequence[str]) -> dict[str, str]:
    """Map each layer to the first of those with the same inputs: an attention block's queries, keys and values."""
    first: dict[str, str] = {}
    sources = {}
    for path in linears:
        block, _, name = path.rpartition(".")
        shared = f"{block}.{_SHARED}" if name in _SHARED else path
        sources[path] = first.setdefault(shared, path)
    return sources


@contextmanager
def _listening(model: UpstreamModel, linears: Iterable[str], sums: dict[str, Tensor]) -> Iterator[None]:
    def listener(path: str) -> Any:
        def add(_module: nn.Module, inputs: tuple[Tensor]) -> None:
            frames = inputs[0].flatten(0, -2)
            products = (frames.T @ frames).double()
            sums[path] = sums[path] + products if path in sums else products

        return add

    handles = [model.get_submodule(path).register_forward_pre_hook(listener(path)) for path in linears]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def all_factors(
    model: UpstreamModel, linears: Sequence[str], moments: Mapping[str, Tensor], folder: Path | None = None
) -> dict[str, Factors]:
    """Decompose linear layers of a model. Layers without a moment are not whitened.

    Args:
        model: the model.
        linears: paths of the layers.
        moments: second moments by path.
        folder: stores the factors of each finished layer, to resume an interrupted call.
    """

    # One entry is enough: layers that share a moment follow one another.
    @lru_cache(maxsize=1)
    def whitening(source: str) -> Whitening:
        return whitening_of(moments[source])

    sources = _sources(linears)

    def factors(path: str) -> Factors:
        def make() -> Factors:
            return factors_of(
                model.get_parameter(f"{path}.weight"), whitening(sources[path]) if path in moments else None
            )

        if folder is None:
            return make()
        return Factors(**kept_tensors(folder / f"{path}.safetensors", lambda: make()._asdict()))

    return {path: factors(path) for path in tracked(linears, "factors", len(linears), "layers")}
