"""Decompose linear layers by singular values, of the weights alone or with whitened inputs.

Source: Wang et al., SVD-LLM (arXiv 2403.07378) section 3.1 for whitening. If ``M`` is the second moment of the inputs
and ``S S^T = M``, dropping components of ``W S`` removes exactly their energy from the outputs of ``W``. We take roots
from eigenvalues instead of a Cholesky decomposition, because the moments of few inputs are singular.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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


def factors_of(weight: Tensor, moment: Tensor | None) -> Factors:
    """Decompose a weight. Both factors get the root of the singular values, which helps training.

    Args:
        weight: (outputs, inputs) float32.
        moment: second moment of the inputs, (inputs, inputs) float64. None: all directions count the same.
    """
    wide = weight.detach().cpu().double()
    if moment is None:
        left, values, right = torch.linalg.svd(wide, full_matrices=False)
    else:
        squares, directions = torch.linalg.eigh(moment)
        roots = squares.clamp(min=LEAST_MOMENT * float(squares.max())).sqrt()
        left, values, right = torch.linalg.svd(wide @ directions * roots, full_matrices=False)
        right = right / roots @ directions.T
    root = values.sqrt()
    return Factors((root[:, None] * right).float(), (left * root).float(), values)


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
        (inputs, inputs) float64 on the CPU, by path.
    """
    sums = (snapshots.last() if snapshots else None) or {}
    done, num_frames = (int(sums.pop(name, torch.tensor(0))) for name in (_DONE, _FRAMES))
    device = model.layer_norm.weight.device
    with _listening(model, linears, sums):
        for index in tracked(range(done, len(batches)), "inputs of linear layers", len(batches), "batches", done):
            waveforms = batches[index].to(device)
            num_frames += len(waveforms) * model.config.num_frames(waveforms.shape[1])
            model(waveforms)
            if snapshots:
                counts = {_DONE: torch.tensor(index + 1), _FRAMES: torch.tensor(num_frames)}
                snapshots.keep(lambda counts=counts: sums | counts, now=index + 1 == len(batches))  # type: ignore[misc]
    return {path: total / num_frames for path, total in sums.items()}


@contextmanager
def _listening(model: UpstreamModel, linears: Iterable[str], sums: dict[str, Tensor]) -> Iterator[None]:
    def listener(path: str) -> Any:
        def add(_module: nn.Module, inputs: tuple[Tensor]) -> None:
            frames = inputs[0].flatten(0, -2)
            products = (frames.T @ frames).cpu().double()
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

    def factors(path: str) -> Factors:
        def make() -> Factors:
            return factors_of(model.get_parameter(f"{path}.weight"), moments.get(path))

        if folder is None:
            return make()
        return Factors(**kept_tensors(folder / f"{path}.safetensors", lambda: make()._asdict()))

    return {path: factors(path) for path in tracked(linears, "factors", len(linears), "layers")}
