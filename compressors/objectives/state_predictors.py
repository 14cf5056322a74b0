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
from compressors.settings import LayerGroups

logger = logging.getLogger(__name__)


class StatePredictors(nn.ModuleList, ABC):
    """Predicts the teacher's hidden states from the student's. It is saved next to the model, never in it."""

    kind: ClassVar[str]
    """Part of the file's name."""

    def __init__(self, groups: LayerGroups, predictors: Iterable[nn.Module]) -> None:
        super().__init__(predictors)
        self.groups = groups

    @property
    def layers(self) -> tuple[int, ...]:
        """The teacher's states to predict, in the order of the result."""
        return tuple(layer for group in self.groups for layer in group)

    @abstractmethod
    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Map a student's hidden states, (batch, frames, dim) each, to (batch, layers, frames, teacher dim)."""

    def path_in(self, folder: Path) -> Path:
        """Return the path of the weights in a model's folder."""
        return folder / f"distillation_{self.kind}.safetensors"

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

    def __init__(self, groups: LayerGroups, student_dim: int, teacher_dim: int) -> None:
        super().__init__(groups, (_identity(student_dim, teacher_dim) for _ in groups))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Project the student's state of each layer to the teacher's of the same; shapes as in `StatePredictors`."""
        projected = [
            projection(states[layer]) for projection, group in zip(self, self.groups, strict=True) for layer in group
        ]
        return torch.stack(projected, dim=1)


class PredictionHeads(StatePredictors):
    """For a student of few layers: one head per state of the teacher, all on the student's last state.

    Source: DistilHuBERT (arXiv 2110.01900); its implementation for the heads' hidden layer.
    """

    kind = "heads"

    def __init__(self, layers: Sequence[int], student_dim: int, teacher_dim: int) -> None:
        groups = tuple((layer,) for layer in layers)
        super().__init__(groups, (_head(student_dim, teacher_dim) for _ in groups))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Predict all layers from the student's last state; shapes as in `StatePredictors`."""
        return torch.stack([head(states[-1]) for head in self], dim=1)


def _head(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, inputs), nn.GELU(), nn.Linear(inputs, outputs))


def _identity(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
