"""Hard-concrete gates that attach to an upstream from outside; the model itself has no pruning code.

Source: Louizos et al., L0 regularization (arXiv 1712.01312) section 2.2; DPHuBERT (arXiv 2305.17651)
section 3.3, and its reference implementation for the constants and the deterministic mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.upstream.cost import UNITS, Count, gateable_parameters, kept_units

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from bench.upstream.attention import SelfAttention
    from bench.upstream.config import UpstreamConfig
    from bench.upstream.model import FeedForward, TransformerLayer, UpstreamModel

__all__ = ["UNITS", "Gates", "HardConcrete"]

INITIAL_CLOSED = {"conv": 0.01, "head": 0.01, "interm": 0.5, "attlayer": 0.01, "ffnlayer": 0.01}
"""How closed new gates are, in (0, 1); the reference implementation starts feed-forward units halfway."""
INITIAL_NOISE_STD = 0.01

TEMPERATURE = 2 / 3
STRETCH = 0.1
NOISE_MARGIN = 1e-6
HARDENED_SLOPE = 0.8
"""Sharpens what the deterministic mask keeps; a constant of the reference implementation."""


class HardConcrete(nn.Module):
    """A mask of ``size`` entries in [0, 1] whose expected number of non-zero entries is differentiable."""

    def __init__(self, size: int, initial_closed: float) -> None:
        super().__init__()
        mean = math.log(1 - initial_closed) - math.log(initial_closed)
        self.log_alpha = nn.Parameter(torch.normal(mean, INITIAL_NOISE_STD, (size,)))

    def forward(self) -> Tensor:
        """Return a mask (size,): a sample in training mode, `hardened` in evaluation mode."""
        if not self.training:
            return self.hardened()
        return self.sample(torch.empty_like(self.log_alpha).uniform_(NOISE_MARGIN, 1 - NOISE_MARGIN))

    def sample(self, noise: Tensor) -> Tensor:
        """Return the mask (size,) that uniform noise (size,) in (0, 1) leads to."""
        logistic = noise.log() - (1 - noise).log()
        concrete = torch.sigmoid((logistic + self.log_alpha) / TEMPERATURE)
        return (concrete * (1 + 2 * STRETCH) - STRETCH).clamp(0.0, 1.0)

    def expected_open(self) -> Tensor:
        """Return the expected number of non-zero entries of a sample, a scalar."""
        return torch.sigmoid(self.log_alpha - TEMPERATURE * math.log(STRETCH / (1 + STRETCH))).sum()

    def probability_of_any(self) -> Tensor:
        """Return the probability that some entry of a sample is not zero, a scalar."""
        log_closed = nn.functional.logsigmoid(TEMPERATURE * math.log(STRETCH / (1 + STRETCH)) - self.log_alpha)
        return -log_closed.sum().expm1()

    def hardened(self) -> Tensor:
        """Return the deterministic mask (size,): as many zeros as are expected, the others soft.

        It follows ``log_alpha`` at every call, and gradients flow through it.
        """
        soft = torch.sigmoid(self.log_alpha / TEMPERATURE * HARDENED_SLOPE)
        # `round` goes half to even, as the reference implementation does.
        num_zeros = round(soft.numel() - self.expected_open().item())
        return soft.index_fill(0, soft.topk(num_zeros, largest=False).indices, 0.0)


class ChannelGate(HardConcrete):
    """A convolution's gate: where all its channels would close, the one with the highest ``log_alpha`` stays open.

    The reference implementation lets the signal vanish in training, and refuses such a convolution when it prunes.
    """

    def sample(self, noise: Tensor) -> Tensor:
        """Return a mask (size,) as `HardConcrete.sample` does, with a channel open."""
        return self._with_a_channel(super().sample(noise))

    def hardened(self) -> Tensor:
        """Return a mask (size,) as `HardConcrete.hardened` does, with a channel open."""
        return self._with_a_channel(super().hardened())

    def expected_channels(self) -> Tensor:
        """Return the expected number of open channels, that last one included, a scalar."""
        return self.expected_open() + 1 - self.probability_of_any()

    def _with_a_channel(self, mask: Tensor) -> Tensor:
        last = torch.zeros_like(mask).index_fill(0, self.log_alpha.argmax(), 1.0)
        return torch.where(mask.any(), mask, last)


class Gates(nn.ModuleDict):
    """The gates of one upstream, keyed ``<unit>/<layer index>``: ``conv/0``, ``head/3``.

    Hooks tie them to that very model, so do not `copy.deepcopy` a model with gates attached: build gates for
    the copy and load their ``state_dict``. The model's parameters and the gates' stay apart, and so do their
    training modes.
    """

    def __init__(self, model: UpstreamModel, units: Collection[str]) -> None:
        """Create the gates of ``units`` wherever ``model`` still has such units; `attach` puts them to work.

        Raises:
            UserError: a unit is none of `cost.UNITS`.
        """
        unknown = sorted(set(units) - set(UNITS))
        if unknown:
            raise UserError(f"unknown pruning unit {unknown[0]!r}; choose from {', '.join(UNITS)}")
        super().__init__(
            {
                f"{unit}/{index}": (ChannelGate if unit == "conv" else HardConcrete)(count, INITIAL_CLOSED[unit])
                for unit, counts in kept_units(model.config).items()
                for index, count in enumerate(counts)
                if unit in units and count
            }
        )
        # A tuple hides the model from `nn.Module`, or it would become a part of the gates and of their state.
        self._gated = (model,)
        self._hooks: list[RemovableHandle] = []

    @property
    def shape(self) -> UpstreamConfig:
        """Of the model that the gates belong to."""
        return self._gated[0].config

    def attach(self) -> None:
        """Let every forward pass of the model go through the gates, with one mask a gate and pass.

        Under autocast masks stay float32, and so do the activations that they scale.
        """
        self.detach()
        self._hooks = [_attach(self._gated[0], key, gate) for key, gate in self._gates()]

    def detach(self) -> None:
        """Leave the model as it was before `attach`."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def expected_parameters(self) -> Tensor:
        """Return the expected size of the pruned model, a differentiable scalar.

        Input and output channels count as independent. WavLM's position bias does not count; the scale of the
        last convolution's channels does.

        Source: DPHuBERT section 3.3, and the counting of its reference implementation.
        """
        return torch.as_tensor(gateable_parameters(self.shape, self._expected_units()), dtype=torch.get_default_dtype())

    def expected_structure(self, *, keep_position_bias: bool) -> tuple[dict[str, list[Count]], Count]:
        """Return what a pruned model is expected to have, blocks gone with their last unit being gone as a whole.

        Where every gate is certain, this is what `pruning.pruned_config` leads to.

        Args:
            keep_position_bias: as `pruning.prune` takes it.

        Returns:
            The units, as `cost.kept_units` counts them (heads and feed-forward units on condition that some are left),
            and the probability that WavLM's position bias is left: differentiable where gates decide.
        """
        units = self._expected_units()
        for key, gate in self._gates():
            if isinstance(gate, ChannelGate):
                units["conv"][int(key.removeprefix("conv/"))] = gate.expected_channels()
        for block, unit in (("attlayer", "head"), ("ffnlayer", "interm")):
            for index, count in enumerate(units[unit]):
                if f"{unit}/{index}" in self:
                    some = cast("HardConcrete", self[f"{unit}/{index}"]).probability_of_any()
                    units[unit][index] = count / some.clamp(min=torch.finfo(some.dtype).tiny)
                    units[block][index] = units[block][index] * some
        return units, self._expected_embeddings(units["attlayer"], keep_position_bias=keep_position_bias)

    def _expected_embeddings(self, attention_blocks: list[Count], *, keep_position_bias: bool) -> Count:
        relative_position = self.shape.relative_position
        if relative_position is None or not relative_position.has_embedding or not attention_blocks:
            return 0
        if not keep_position_bias:
            return attention_blocks[0]
        none: Count = 1
        for block in attention_blocks:
            none = none * (1 - block)
        return 1 - none

    def _expected_units(self) -> dict[str, list[Count]]:
        units: dict[str, list[Count]] = {unit: list(counts) for unit, counts in kept_units(self.shape).items()}
        for key, gate in self._gates():
            unit, index = key.split("/")
            units[unit][int(index)] = gate.expected_open()
        return units

    def hardened_masks(self) -> dict[str, Tensor]:
        """Return every gate's deterministic mask, without gradients: what `pruning.prune` takes."""
        with torch.no_grad():
            return {key: gate.hardened() for key, gate in self._gates()}

    def _gates(self) -> Iterator[tuple[str, HardConcrete]]:
        return cast("Iterator[tuple[str, HardConcrete]]", iter(self.items()))


def _attach(model: UpstreamModel, key: str, gate: HardConcrete) -> RemovableHandle:
    """Register the one hook that applies a gate where DPHuBERT does."""
    unit, index = key.split("/")
    if unit == "conv":
        layer = model.feature_extractor.conv_layers[int(index)]
        return layer.register_forward_hook(_scale_output(lambda: gate()[:, None]))
    transformer_layer = cast("TransformerLayer", model.layers[int(index)])
    attention = cast("SelfAttention", transformer_layer.attention)
    feed_forward = cast("FeedForward", transformer_layer.feed_forward)
    if unit == "head":
        return attention.out_proj.register_forward_pre_hook(
            _scale_input(lambda: gate().repeat_interleave(attention.head_dim))
        )
    if unit == "interm":
        return feed_forward.output_dense.register_forward_pre_hook(_scale_input(gate))
    branch = attention if unit == "attlayer" else feed_forward
    return branch.register_forward_hook(_scale_output(gate))


def _scale_output(mask: Callable[[], Tensor]) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    return lambda _module, _inputs, output: output * mask()


def _scale_input(mask: Callable[[], Tensor]) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    return lambda _module, inputs: (inputs[0] * mask(),)
