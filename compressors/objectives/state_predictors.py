"""Modules that predict the teacher's hidden states from the student's: projections, or prediction heads."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from bench.contracts import WarmStart
from bench.errors import UserError
from bench.files.atomic import replacing
from bench.upstream import UpstreamModel
from compressors.objectives.distilled_layers import layer_groups
from compressors.settings import DistillationConfig, LayerGroups

logger = logging.getLogger(__name__)


class StatePredictors(nn.ModuleList, ABC):
    """Predicts the teacher's hidden states from the student's. It is saved next to the model, never in it."""

    kind: ClassVar[str]
    """Part of the file's name."""

    def __init__(self, groups: LayerGroups, predictors: Iterable[nn.Module], *, means: bool) -> None:
        """Prepare the predictors.

        Args:
            groups: the teacher's states to predict.
            predictors: one per group.
            means: predict the mean over each group instead of every state.
        """
        super().__init__(predictors)
        self.groups = groups
        self.means = means

    @property
    def layers(self) -> tuple[int, ...]:
        """The teacher's states to predict, in the order of the result."""
        return tuple(layer for group in self.groups for layer in group)

    @abstractmethod
    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Map a student's hidden states, (batch, frames, dim) each, to (batch, targets, frames, teacher dim)."""

    def targets(self, states: Sequence[Tensor]) -> Tensor:
        """Return what to predict: the teacher's states or the means of its groups, (batch, targets, frames, dim)."""
        if self.means:
            return torch.stack([_mean(states, group) for group in self.groups], dim=1)
        return torch.stack([states[layer] for layer in self.layers], dim=1)

    def path_in(self, folder: Path) -> Path:
        """Return the path of the weights in a model's folder."""
        return folder / f"distillation_{'group_' if self.means else ''}{self.kind}.safetensors"

    def save(self, path: Path) -> None:
        """Write the weights. Their keys begin with the group's number; the metadata holds the groups."""
        state = {key: value.detach().contiguous() for key, value in self.state_dict().items()}
        with replacing(path) as temporary:
            temporary.write_bytes(save(state, metadata={"layers": json.dumps(self.groups)}))

    def load(self, path: Path) -> bool:
        """Load weights written by `save`, if they predict the same states between the same widths.

        Returns:
            Whether they do.

        Raises:
            UserError: the file is torn.
        """
        try:
            with safe_open(path, "pt") as file:
                layers = (file.metadata() or {}).get("layers")
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        except SafetensorError as error:
            raise UserError(f"Expected weights in {path}. Found a torn file ({error}). Delete it.") from error
        shapes = {key: value.shape for key, value in self.state_dict().items()}
        if layers != json.dumps(self.groups) or shapes != {key: value.shape for key, value in state.items()}:
            return False
        self.load_state_dict(state)
        return True

    def load_from_start(self, start: WarmStart) -> None:
        """Load the weights in the folder of a warm start, if they predict the same states."""
        path = start.folder and self.path_in(start.folder)
        if path is None or not path.is_file() or not self.load(path):
            logger.warning("--from has no %s for these states; they start from scratch", self.kind)


class Projections(StatePredictors):
    """Layer to layer: one linear layer per group of hidden states, initially the identity if the widths agree."""

    kind = "projections"

    def __init__(self, groups: LayerGroups, student_dim: int, teacher_dim: int, *, means: bool = False) -> None:
        super().__init__(groups, (_identity(student_dim, teacher_dim) for _ in groups), means=means)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Project the student's states, or means, to the teacher's of the same layers; shapes as in the base class."""
        if self.means:
            means = [_mean(states, group) for group in self.groups]
            return torch.stack([project(mean) for project, mean in zip(self, means, strict=True)], dim=1)
        projected = [
            projection(states[layer]) for projection, group in zip(self, self.groups, strict=True) for layer in group
        ]
        return torch.stack(projected, dim=1)


class PredictionHeads(StatePredictors):
    """For a student of few layers: one head per state or mean of the teacher, all on the student's last state.

    Without ``means``, every group has one state.

    Source: DistilHuBERT (arXiv 2110.01900); its implementation for the heads' hidden layer.
    """

    kind = "heads"

    def __init__(self, groups: LayerGroups, student_dim: int, teacher_dim: int, *, means: bool = False) -> None:
        super().__init__(groups, (_head(student_dim, teacher_dim) for _ in groups), means=means)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Predict everything from the student's last state; shapes as in `StatePredictors`."""
        return torch.stack([head(states[-1]) for head in self], dim=1)


def projections_between(student: UpstreamModel, teacher: UpstreamModel, config: DistillationConfig) -> Projections:
    """Return the projections that a configuration names, from a student of the teacher's depth."""
    groups = layer_groups(config, teacher.num_layers)
    return Projections(groups, student.dim, teacher.dim, means=config.targets == "groups")


def _mean(states: Sequence[Tensor], group: Sequence[int]) -> Tensor:
    return torch.stack([states[layer] for layer in group]).mean(0)


def _head(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, inputs), nn.GELU(), nn.Linear(inputs, outputs))


def _identity(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
