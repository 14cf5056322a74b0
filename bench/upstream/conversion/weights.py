"""A converted model before it is built: fills every weight of ours, and checks shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.errors import UserError
from bench.upstream.config import UpstreamConfig
from bench.upstream.conversion.keys import listed
from bench.upstream.gates import Gates
from bench.upstream.initialisation import uninitialised
from bench.upstream.model import UpstreamModel
from bench.upstream.pruning import prune


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
