"""Rescaling after pruning: whatever reads the extractor's channels gets back the spread that its output had.

Without the channels that are gone, sums over channels are smaller, and extractors without a normalisation between
their convolutions pass less on from layer to layer, until GELU is next to linear.

Source: Saikumar and Varghese, Signal Collapse in One-Shot Pruning (arXiv 2502.15790), where BatchNorm is recalibrated;
Jordan et al., REPAIR (arXiv 2211.08403), for statistics of each channel, put into the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.upstream import UpstreamModel

NUM_BATCHES = 8
"""Of training audio, over which outputs are compared."""


class Moments(NamedTuple):
    """Of a layer's output over batches and frames, (channels,) float64 each."""

    mean: Tensor
    mean_square: Tensor

    @property
    def std(self) -> Tensor:
        """The standard deviation."""
        return (self.mean_square - self.mean**2).clamp(min=0).sqrt()


@torch.no_grad()
def rescale_extractor(
    pruned: UpstreamModel, original: UpstreamModel, masks: Mapping[str, Tensor], batches: Sequence[Tensor]
) -> None:
    """Rescale what reads convolution channels, layer by layer, so that each output has its former moments.

    These are mean and standard deviation where the reader has a bias, which takes up the difference in the mean, and
    the root mean square where it has none.

    Args:
        pruned: what is left of ``original``; changed in place.
        original: before pruning.
        masks: what ``original`` was pruned by; those of convolutions count.
        batches: (batch, samples) float32 each.
    """
    former = _moments(original, readers(original), batches)
    for name in readers(pruned):
        reader = pruned.get_submodule(name)
        kept = masks.get(f"conv/{name.split('.')[2]}") if isinstance(reader, nn.Conv1d) else None
        before = former[name] if kept is None else Moments(*(moment[kept != 0] for moment in former[name]))
        _restore(reader, before, _moments(pruned, [name], batches)[name])


def readers(model: UpstreamModel) -> list[str]:
    """Name the modules that read a convolution's channels, in the order of the data."""
    convolutions = [f"feature_extractor.conv_layers.{index}.conv" for index in range(1, len(model.config.conv_layers))]
    return [*convolutions, "feature_projection.projection"]


def _restore(reader: nn.Module, before: Moments, after: Moments) -> None:
    weight, bias = reader.get_parameter("weight"), getattr(reader, "bias", None)
    tiny = torch.finfo(torch.float32).tiny
    if bias is None:
        factor = (before.mean_square / after.mean_square.clamp(min=tiny)).sqrt()
    else:
        factor = before.std / after.std.clamp(min=tiny)
        bias.copy_(before.mean - factor * (after.mean - bias))
    weight.mul_(factor.view(-1, *[1] * (weight.ndim - 1)))


def _moments(model: UpstreamModel, names: Sequence[str], batches: Sequence[Tensor]) -> dict[str, Moments]:
    """Measure outputs of modules up to the feature projection."""
    sums: dict[str, Tensor] = {}
    hooks = [model.get_submodule(name).register_forward_hook(_adding(sums, name)) for name in names]
    for waveforms in batches:
        model.project(*model.extract(waveforms))
    for hook in hooks:
        hook.remove()
    return {name: Moments(*(total[:2] / total[2])) for name, total in sums.items()}


def _adding(sums: dict[str, Tensor], name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def add(module: nn.Module, _inputs: object, output: Tensor) -> None:
        channels_last = output.transpose(1, 2) if isinstance(module, nn.Conv1d) else output
        values = channels_last.flatten(0, 1).double()
        found = torch.stack([values.sum(0), values.square().sum(0), torch.full_like(values[0], len(values))])
        sums[name] = sums[name] + found if name in sums else found

    return add
