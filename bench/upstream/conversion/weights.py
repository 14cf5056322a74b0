"""The converter: renames or explicitly ignores every source key, fills every weight of ours, and checks shapes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.errors import UserError
from bench.upstream.config import UpstreamConfig
from bench.upstream.conversion.files import require_finite
from bench.upstream.gates import Gates
from bench.upstream.initialisation import uninitialised
from bench.upstream.model import UpstreamModel
from bench.upstream.pruning import prune

CHANNEL_SCALE = "feature_extractor.channel_scale"

_POSITIONAL = "positional_convolution.conv."
SHARED_KEYS = (
    (r"(feature_extractor\.conv_layers\.\d+\.(?:conv|layer_norm)\.(?:weight|bias))", r"\1"),
    (r"(?:encoder\.)?(feature_projection\.(?:layer_norm|projection)\.(?:weight|bias))", r"\1"),
    (r"encoder\.(?:transformer\.)?pos_conv_embed\.conv\.bias", _POSITIONAL + "bias"),
    # Weight norm, in torch's old and new naming.
    (
        r"encoder\.(?:transformer\.)?pos_conv_embed\.conv\.(?:weight_g|parametrizations\.weight\.original0)",
        _POSITIONAL + "parametrizations.weight.original0",
    ),
    (
        r"encoder\.(?:transformer\.)?pos_conv_embed\.conv\.(?:weight_v|parametrizations\.weight\.original1)",
        _POSITIONAL + "parametrizations.weight.original1",
    ),
    (r"encoder\.(?:transformer\.)?layer_norm\.(weight|bias)", r"layer_norm.\1"),
    (r"encoder\.(?:transformer\.)?layers\.0\.attention\.rel_attn_embed\.weight", "position_bias.embedding.weight"),
    (
        r"encoder\.(?:transformer\.)?(layers\.\d+\.(?:attention|layer_norm|feed_forward|final_layer_norm)\..+)",
        r"\1",
    ),
)
"""Keys that Hugging Face, torchaudio and DPHuBERT share, because they all copied fairseq's module structure."""


@dataclass(frozen=True)
class KeyMap:
    """How one source names its weights."""

    renamed: tuple[tuple[str, str], ...]
    """Pattern of a whole source key, and the resulting key of `UpstreamModel`. The first match counts."""
    ignored: tuple[str, ...] = ()
    """Patterns of source keys that do not belong to an upstream, such as task heads."""
    prefix: str = ""
    """Pattern of an optional prefix of source keys, including ignored ones."""

    def apply(self, weights: Mapping[str, Tensor], where: object) -> dict[str, Tensor]:
        """Rename weights, and convert them to float32.

        Raises:
            UserError: a key is neither known nor ignored, two keys map to one weight, or weights are integers, NaN or
                infinite.
        """
        result: dict[str, Tensor] = {}
        unknown = []
        for key, value in weights.items():
            target = self._target(key)
            if target is not None:
                if target in result:
                    raise UserError(f"Expected each weight once in {where}. Found a second {key}. Which is it?")
                if not value.is_floating_point():
                    raise UserError(f"Expected {key} of float32 in {where}. Found {value.dtype}. Save it as float32.")
                result[target] = value.to(torch.float32)
            elif not any(re.fullmatch(self.prefix + pattern, key) for pattern in self.ignored):
                unknown.append(key)
        if unknown:
            raise UserError(
                f"Expected the weights of a speech model in {where}. Found unknown ones: {listed(unknown)}."
            )
        require_finite(result, where)
        return result

    def _target(self, key: str) -> str | None:
        for pattern, target in self.renamed:
            match = re.fullmatch(self.prefix + pattern, key)
            if match:
                return match.expand(target)
        return None


@dataclass(frozen=True)
class Checkpoint:
    """A model as read from a file: shape and weights under our names. Nothing is built yet."""

    config: UpstreamConfig
    weights: Mapping[str, Tensor]
    """Named and shaped like ``UpstreamModel(config).state_dict()``; checked on use."""
    where: str
    """Where the model was found, for errors."""
    gates: Mapping[str, Tensor] = field(default_factory=dict)
    """``log_alpha`` of gates, keyed as in `bench.upstream.gates.Gates`. The model is pruned by them."""

    def check(self) -> None:
        """Compare keys and shapes without building the model.

        Raises:
            UserError: a weight is missing, unexpected, of another shape or of another numeric type.
        """
        self._check()

    def shape(self) -> UpstreamConfig:
        """Return the shape that the model will have. The model is built only if it has gates.

        Raises:
            UserError: see `check`.
        """
        if self.gates:
            return self.build().config
        self.check()
        return self.config

    def build(self) -> UpstreamModel:
        """Build the model, in evaluation mode. If there are gates, prune by their hardened masks.

        Raises:
            UserError: see `check`.
        """
        self._check()
        model = uninitialised(self.config)
        model.load_state_dict(self.weights)
        model.eval()
        if not self.gates:
            return model
        masks = self._gates(model).hardened_masks()
        return prune(model, masks)

    def _check(self) -> None:
        # On the meta device, so that a wrong shape in a file takes no memory before its weights are checked.
        with torch.device("meta"):
            model = uninitialised(self.config)
        ours = model.state_dict()
        expected = {key: tuple(value.shape) for key, value in ours.items()}
        missing = expected.keys() - self.weights.keys()
        if missing:
            raise UserError(f"Expected more weights in {self.where}. Found none for {listed(missing)}.")
        left_over = self.weights.keys() - expected.keys()
        if left_over:
            raise UserError(
                f"Unexpected weights in {self.where}: {listed(left_over)}. Does its configuration belong to them?"
            )
        for key, shape in expected.items():
            found = tuple(self.weights[key].shape)
            if found != shape:
                raise UserError(
                    f"Expected {key} of shape {shape} in {self.where}. Found {found}. Does its "
                    "configuration belong to it?"
                )
            if self.weights[key].is_floating_point() != ours[key].is_floating_point():
                raise UserError(
                    f"Expected {key} of {ours[key].dtype} in {self.where}. Found {self.weights[key].dtype}. Does "
                    "its configuration belong to it?"
                )
        if self.gates:
            self._check_gates(model)

    def _check_gates(self, model: UpstreamModel) -> None:
        with torch.random.fork_rng(devices=[]):
            gates = Gates(model, self._gated_units())
        expected = {key: (gate.log_alpha.numel(),) for key, gate in gates.items()}  # type: ignore[operator]
        found = {key: tuple(value.shape) for key, value in self.gates.items()}
        if expected != found:
            different = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
            raise UserError(f"Expected gates that fit the model in {self.where}. Found others: {listed(different)}.")

    def _gates(self, model: UpstreamModel) -> Gates:
        with torch.random.fork_rng(devices=[]):
            gates = Gates(model, self._gated_units())
        gates.load_state_dict({f"{key}.log_alpha": value for key, value in self.gates.items()})
        return gates

    def _gated_units(self) -> set[str]:
        return {key.split("/")[0] for key in self.gates}


def listed(names: Collection[str], shown: int = 3) -> str:
    """Name the first few of many."""
    first = ", ".join(name if len(name) <= 80 else f"{name[:77]}..." for name in sorted(names)[:shown])
    return first if len(names) <= shown else f"{first} and {len(names) - shown} more"
