"""Gates that attach to an upstream from outside: hard-concrete or self-pinching. The model has no pruning code.

Source: DPHuBERT (arXiv 2305.17651) section 3.3. The kinds of gates are in `bench.upstream.gate_kinds`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import UserError
from bench.upstream.cost import UNITS, Count, constants_like, gateable_parameters, kept_units
from bench.upstream.gate_kinds import (
    INITIAL_CLOSED,
    Gate,
    GateKind,
    HardConcrete,
    SelfPinching,
    log_closed_probability,
    open_probability,
)
from bench.upstream.unit_weights import unit_weights

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from bench.upstream.attention import SelfAttention
    from bench.upstream.config import UpstreamConfig
    from bench.upstream.model import ConvLayer, FeatureExtractor, FeedForward, TransformerLayer, UpstreamModel

__all__ = ["UNITS", "Gates"]


class Gates(nn.ModuleDict):
    """The gates of one upstream, keyed ``<unit>/<layer index>``: ``conv/0``, ``head/3``.

    Hooks tie the gates to this model object, so do not `copy.deepcopy` a model with attached gates: build gates for
    the copy and load their ``state_dict``. The gates have their own parameters and training mode, separate from the
    model's.
    """

    def __init__(self, model: UpstreamModel, units: Collection[str], kind: GateKind = "hard_concrete") -> None:
        """Create gates of ``units`` wherever ``model`` still has such units. Call `attach` to activate them.

        Raises:
            UserError: a unit is not in `cost.UNITS`.
        """
        unknown = sorted(set(units) - set(UNITS))
        if unknown:
            raise UserError(f"unknown pruning unit {unknown[0]!r}; choose from {', '.join(UNITS)}")
        super().__init__(
            {
                f"{unit}/{index}": _gate(model, f"{unit}/{index}", count, kind)
                for unit, counts in kept_units(model.config).items()
                for index, count in enumerate(counts)
                if unit in units and count
            }
        )
        # The tuple hides the model from `nn.Module`. Otherwise it would become a submodule and part of the state.
        self._gated = (model,)
        self._hooks: list[RemovableHandle | _OtherForward] = []

    @property
    def shape(self) -> UpstreamConfig:
        """Shape of the gated model."""
        return self._gated[0].config

    def attach(self) -> None:
        """Apply the gates in every forward pass of the model, with one mask per gate and pass.

        Under autocast, masks and the weights and activations that they scale stay float32 until they are used.
        """
        self.detach()
        self._hooks = [_attach(self._gated[0], key, gate) for key, gate in self._gates()]

    def detach(self) -> None:
        """Restore the model to its state before `attach`."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def expected_parameters(self) -> Tensor:
        """Return the expected size of the pruned model, a differentiable scalar.

        Input and output channels count as independent. WavLM's position bias does not count; the scale of the
        last convolution's channels does.

        Source: DPHuBERT section 3.3, and the counting of its reference implementation.
        """
        opened = self._sums(open_probability(self._log_alphas()))
        units = {unit: self._over_layers(unit, opened[unit], kept) for unit, kept in kept_units(self.shape).items()}
        return gateable_parameters(self.shape, units)

    def expected_structure(self, *, keep_position_bias: bool) -> tuple[dict[str, Tensor], Count]:
        """Return the expected structure of the pruned model. A block that loses all its units is removed entirely.

        If every gate is certain, this equals the structure of `pruning.pruned_config`.

        Args:
            keep_position_bias: see `pruning.prune`.

        Returns:
            The units, as in `cost.kept_units` (heads and feed-forward units given that at least one remains), and the
            probability that WavLM's position bias remains. Differentiable where gates decide.
        """
        log_alphas = self._log_alphas()
        opened = self._sums(open_probability(log_alphas))
        log_closed = self._sums(log_closed_probability(log_alphas))
        units, some = {}, {}
        for unit, kept in kept_units(self.shape).items():
            counts, any_open = opened[unit], -log_closed[unit].expm1()
            if unit == "conv":
                counts = counts + 1 - any_open  # The channel that stays open where all would close.
            elif unit in {"head", "interm"}:
                counts = counts / any_open.clamp(min=torch.finfo(any_open.dtype).tiny)
                some[unit] = self._over_layers(unit, any_open, [1] * len(kept))
            units[unit] = self._over_layers(unit, counts, kept)
        units["attlayer"] = units["attlayer"] * some["head"]
        units["ffnlayer"] = units["ffnlayer"] * some["interm"]
        return units, self._expected_embeddings(units["attlayer"], keep_position_bias=keep_position_bias)

    def _expected_embeddings(self, attention_blocks: Tensor, *, keep_position_bias: bool) -> Count:
        relative_position = self.shape.relative_position
        if relative_position is None or not relative_position.has_embedding or not len(attention_blocks):
            return 0
        if not keep_position_bias:
            return attention_blocks[0]
        return 1 - (1 - attention_blocks).prod()

    def _log_alphas(self) -> Tensor:
        """Return the entries of all gates as one vector, so that the expected size takes only a few operations."""
        return torch.cat([gate.log_alpha for _, gate in self._gates()]) if len(self) else torch.zeros(0)

    def _sums(self, entries: Tensor) -> dict[str, Tensor]:
        """Sum values per entry over each gate. Returns (gates of the unit,) by unit."""
        kept = kept_units(self.shape)
        sizes = [kept[unit][int(index)] for unit, index in (key.split("/") for key in self)]
        parts = torch.split(entries, sizes)
        sums: dict[str, list[Tensor]] = {unit: [] for unit in UNITS}
        for key, part in zip(self, parts, strict=True):
            sums[key.split("/")[0]].append(part.sum())
        return {unit: torch.stack(parts) if parts else entries.new_zeros(0) for unit, parts in sums.items()}

    def _over_layers(self, unit: str, of_gates: Tensor, others: Sequence[int]) -> Tensor:
        """Combine values of gated layers and of layers without a gate, in layer order."""
        indices = [int(key.removeprefix(f"{unit}/")) for key in self if key.startswith(f"{unit}/")]
        layers = constants_like(of_gates, indices, torch.long)
        return constants_like(of_gates, others).index_copy(0, layers, of_gates)

    def hardened_masks(self) -> dict[str, Tensor]:
        """Return every gate's deterministic mask without gradients, as `pruning.prune` takes them."""
        with torch.no_grad():
            return {key: gate.hardened() for key, gate in self._gates()}

    def _gates(self) -> Iterator[tuple[str, Gate]]:
        return cast("Iterator[tuple[str, Gate]]", iter(self.items()))


def _gate(model: UpstreamModel, key: str, count: int, kind: GateKind) -> Gate:
    unit = key.split("/", maxsplit=1)[0]
    if kind == "hard_concrete":
        return HardConcrete(count, INITIAL_CLOSED[unit], keeps_one=unit == "conv")
    # The function hides the model from `nn.Module`, see `Gates`.
    return SelfPinching(partial(unit_weights, model, key, count), keeps_one=unit == "conv")


class _OtherForward:
    """Replaces a module's forward pass until `remove` is called, like a hook."""

    def __init__(self, module: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
        self._module = module
        vars(module)["forward"] = forward

    def remove(self) -> None:
        del vars(self._module)["forward"]


def _attach(model: UpstreamModel, key: str, gate: Gate) -> RemovableHandle | _OtherForward:
    """Let a gate scale its units.

    If a linear map reads the units, the gate scales its weights, because there are fewer weights than activations.
    """
    unit, index = key.split("/")
    if unit == "conv":
        return _attach_to_convolution(model.feature_extractor, int(index), gate)
    transformer_layer = cast("TransformerLayer", model.layers[int(index)])
    attention = cast("SelfAttention", transformer_layer.attention)
    feed_forward = cast("FeedForward", transformer_layer.feed_forward)
    if unit == "head":
        return _scale_inputs(attention.out_proj, lambda: gate().repeat_interleave(attention.head_dim))
    if unit == "interm":
        return _scale_inputs(feed_forward.output_dense, gate)
    branch = attention if unit == "attlayer" else feed_forward
    return branch.register_forward_hook(_scale_output(gate))


def _attach_to_convolution(extractor: FeatureExtractor, index: int, gate: Gate) -> RemovableHandle | _OtherForward:
    if index + 1 == len(extractor.conv_layers):
        # The last convolution is read by a LayerNorm, so its gate scales the output instead.
        return extractor.conv_layers[index].register_forward_hook(_scale_output(lambda: gate()[:, None]))
    reader = cast("ConvLayer", extractor.conv_layers[index + 1]).conv

    def forward(hidden: Tensor) -> Tensor:
        return F.conv1d(hidden, reader.weight * gate()[:, None], reader.bias, reader.stride)

    return _OtherForward(reader, forward)


def _scale_inputs(linear: nn.Linear, mask: Callable[[], Tensor]) -> _OtherForward:
    return _OtherForward(linear, lambda inputs: F.linear(inputs, linear.weight * mask(), linear.bias))


def _scale_output(mask: Callable[[], Tensor]) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    return lambda _module, _inputs, output: output * mask()
