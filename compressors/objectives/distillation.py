"""Distillation: the loss between hidden states, and what predicts the teacher's from the student's.

Source: DPHuBERT (arXiv 2305.17651) section 3.1; the loss is DistilHuBERT's (arXiv 2110.01900) equation 1.
"""

from __future__ import annotations

import copy
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts import Context, Settings, WarmStart
from bench.errors import UserError
from bench.files.atomic import replacing
from bench.upstream import UpstreamModel
from bench.upstream.config import DropoutRates
from compressors.training.stages import Objective

logger = logging.getLogger(__name__)

LayerGroups = tuple[tuple[int, ...], ...]


class DistillationConfig(Settings):
    """How the student learns from the teacher; a compressor's configuration inherits it."""

    distillation_layers: LayerGroups | None = None
    """Hidden states to match, in groups that share one linear projection; state 0 is the feature projection.

    By default state 0 alone, and the states at one and two thirds of the depth and the last together:
    ``[[0], [4, 8, 12]]`` for 12 layers. Source: DPHuBERT's recipe."""
    l1_weight: float = Field(default=1.0, ge=0)
    """Weight of the mean absolute difference."""
    l2_weight: float = Field(default=0.0, ge=0)
    """Weight of the mean squared difference."""
    cosine_weight: float = Field(default=1.0, ge=0)
    """Weight of the cosine similarity."""
    cosine: Literal["raw", "log_sigmoid"] = "raw"
    """``raw`` maximises the similarity itself (DPHuBERT), ``log_sigmoid`` its log-sigmoid (DistilHuBERT)."""
    dropout: DropoutRates = DropoutRates()
    """The student's dropout rates while it trains. Source: DPHuBERT's recipe; none inside the feed-forward blocks."""


class DistillationLoss(NamedTuple):
    """The loss and its parts, scalars in fp32."""

    total: Tensor
    l1: Tensor
    l2: Tensor
    cosine: Tensor


def distillation_loss(student: Tensor, teacher: Tensor, config: DistillationConfig) -> DistillationLoss:
    """Compare hidden states: weighted means over batch, layers, frames and, but for the cosine, features.

    Args:
        student: projected states (batch, layers, frames, dim).
        teacher: states of the same shape.
        config: the weights and the form of the cosine part.
    """
    student, teacher = student.float(), teacher.float()
    l1 = F.l1_loss(student, teacher)
    l2 = F.mse_loss(student, teacher)
    similarity = F.cosine_similarity(student, teacher, dim=-1)
    cosine = -(similarity if config.cosine == "raw" else F.logsigmoid(similarity)).mean()
    total = config.l1_weight * l1 + config.l2_weight * l2 + config.cosine_weight * cosine
    return DistillationLoss(total, l1, l2, cosine)


def layer_groups(config: DistillationConfig, num_layers: int) -> LayerGroups:
    """Return the states to distil for a teacher of ``num_layers``, in groups that share a projection.

    Raises:
        UserError: the configuration names a state that the teacher does not have, or none, or one twice.
    """
    if config.distillation_layers is None:
        return ((0,), thirds(num_layers))
    groups = config.distillation_layers
    layers = [layer for group in groups for layer in group]
    if not layers or not all(groups) or len(set(layers)) != len(layers):
        raise UserError(
            f"Expected groups of distinct layers. Found distillation_layers={_plain(groups)}. "
            "Name each layer once, e.g. [[0], [4, 8, 12]]."
        )
    if min(layers) < 0 or max(layers) > num_layers:
        raise UserError(
            f"Expected distillation layers from 0 (the feature projection) to {num_layers} (the teacher's last). "
            f"Found distillation_layers={_plain(groups)}. Choose others, or leave the option out."
        )
    return groups


def thirds(num_layers: int) -> tuple[int, ...]:
    """Return the hidden states at one and two thirds of the depth, and the last: 4, 8 and 12 of 12 layers."""
    return tuple(sorted({round(num_layers * third / 3) for third in (1, 2, 3)} - {0}))


def _plain(groups: LayerGroups) -> str:
    return json.dumps(groups)


class StatePredictors(nn.ModuleList, ABC):
    """Predicts the teacher's hidden states from the student's; kept beside the model, never in it."""

    kind: ClassVar[str]
    """What they are, in the name of their file."""

    def __init__(self, groups: LayerGroups, predictors: Iterable[nn.Module]) -> None:
        super().__init__(predictors)
        self.groups = groups

    @property
    def layers(self) -> tuple[int, ...]:
        """The teacher's states that are predicted, in the order of the result."""
        return tuple(layer for group in self.groups for layer in group)

    @abstractmethod
    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Map a student's hidden states, (batch, frames, dim) each, to (batch, layers, frames, teacher dim)."""

    def path_in(self, folder: Path) -> Path:
        """Return where the weights lie beside a model."""
        return folder / f"distillation_{self.kind}.safetensors"

    def save(self, path: Path) -> None:
        """Write the weights beside a model: the keys begin with the group's number, the groups are in the metadata."""
        state = {key: value.detach().contiguous() for key, value in self.state_dict().items()}
        with replacing(path) as temporary:
            temporary.write_bytes(save(state, metadata={"layers": _plain(self.groups)}))

    def load(self, path: Path) -> bool:
        """Take the weights that `save` has written, where they predict the same states between the same widths.

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
        if layers != _plain(self.groups) or shapes != {key: value.shape for key, value in state.items()}:
            return False
        self.load_state_dict(state)
        return True


class Projections(StatePredictors):
    """Layer to layer: one linear layer a group of hidden states; identities at the start, where the widths agree."""

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
    """A student of few layers: each of the teacher's states has a head of its own on the student's last state.

    Source: DistilHuBERT (arXiv 2110.01900), and its implementation for the heads' hidden layer.
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


class FrozenTeacher:
    """A teacher out of the reach of optimisers, checkpoints and ``train()``, for it is no module of what trains."""

    def __init__(self, model: UpstreamModel, device: str = "cpu") -> None:
        """Hold ``model`` itself in evaluation mode on the CPU, else a copy on ``device``."""
        self.model = model.eval() if device == "cpu" else copy.deepcopy(model).to(device).eval()

    @torch.no_grad()
    def states(self, waveforms: Tensor, layers: Sequence[int]) -> Tensor:
        """Return DPHuBERT's hidden states ``layers`` of (batch, samples), as (batch, layers, frames, dim)."""
        states, _ = self.model.distillation_states(waveforms)
        return torch.stack([states[layer] for layer in layers], dim=1)


class Distillation(Objective):
    """The student follows the teacher's hidden states, as ``projections`` predict them from its own."""

    def __init__(
        self, student: UpstreamModel, teacher: FrozenTeacher, projections: StatePredictors, config: DistillationConfig
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher
        self.projections = projections
        self.config = config

    def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:  # noqa: ARG002 - the same loss all along
        """Compute the distillation loss of (batch, samples)."""
        states, _ = self.student.distillation_states(waveforms)
        return self.of_states(states, waveforms)

    def of_states(self, states: Sequence[Tensor], waveforms: Tensor) -> dict[str, Tensor | float]:
        """Compute the loss from the student's hidden states, see `UpstreamModel.distillation_states`."""
        expected = self.teacher.states(waveforms, self.projections.layers)
        loss = distillation_loss(self.projections(states), expected, self.config)
        return {"loss": loss.total, "l1": loss.l1, "l2": loss.l2, "cosine": loss.cosine}

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Put all weights into one group, without weight decay as in DPHuBERT's recipe."""
        return [{"params": self.parameters(), "lr": learning_rate, "weight_decay": 0.0}]

    def of(self, student: UpstreamModel) -> Distillation:
        """Return the same objective for another student of the same width; the projections are shared."""
        return Distillation(student, self.teacher, self.projections, self.config)

    def save(self, folder: Path) -> None:
        """Write what predicts the teacher's states into a folder beside the model."""
        self.projections.save(self.projections.path_in(folder))


def distillation_from_start(
    teacher: UpstreamModel,
    config: DistillationConfig,
    context: Context,
    make: Callable[[UpstreamModel], StatePredictors],
) -> Distillation | None:
    """Go on from a copy of `Context.start`, and from what predicts states that lies beside it; None: there is none.

    Args:
        teacher: which it learns from.
        config: of the distillation.
        context: says what to start from.
        make: new predictors for a student, used where there are none beside it for the same states.
    """
    if context.start is None:
        return None
    student = trainable_copy(context.start.model, config.dropout)
    predictors = make(student)
    go_on_from(context.start, predictors)
    return Distillation(student, FrozenTeacher(teacher, context.device), predictors, config)


def go_on_from(start: WarmStart, predictors: StatePredictors) -> None:
    """Load what predicts states that lies beside a model to go on from, where it does for the same states."""
    path = start.folder and predictors.path_in(start.folder)
    if path is None or not path.is_file() or not predictors.load(path):
        logger.warning("no %s for these states beside the model of --from; they begin anew", predictors.kind)


def trainable_copy(teacher: UpstreamModel, dropout: DropoutRates) -> UpstreamModel:
    """Return a student of the teacher's shape and weights, with its own dropout rates."""
    student = UpstreamModel(teacher.config.model_copy(update={"dropout": dropout}))
    student.load_state_dict(teacher.state_dict())
    return student
