"""An objective together with the training loss of a task.

Source: DiariZen (arXiv 2505.24111) and Hybrid Pruning (arXiv 2508.16232): pruning with the loss of the task that the
model is for, next to distillation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from bench.contracts import TaskLoss
from bench.files.atomic import replacing
from bench.upstream import UpstreamModel
from compressors.objectives.student_objective import StudentObjective
from compressors.training.objective import Objective


class TaskAware(Objective):
    """Adds the loss of a head on the student's hidden states to another objective of the student."""

    def __init__(self, own: StudentObjective, head: nn.Module, weight: float, learning_rate_scale: float) -> None:
        """Combine the two.

        Args:
            own: objective of the student without the task.
            head: see `bench.contracts.TaskLoss.head`.
            weight: weight of the task's loss.
            learning_rate_scale: learning rate of the head, as a multiple of the student's.
        """
        super().__init__()
        self.own = own
        self.head = head
        self.weight = weight
        self.learning_rate_scale = learning_rate_scale

    @property
    def student(self) -> UpstreamModel:
        """The model that learns."""
        return self.own.student

    def forward(
        self, own: tuple[Tensor, ...], waveforms: Tensor, lengths: Tensor, targets: Tensor, update: int
    ) -> dict[str, Tensor | float]:
        """Compute the sum of both losses, and their parts; see `compressors.training.task_batches.TaskBatch`."""
        parts: dict[str, Tensor | float] = self.own(*own, update)
        states, num_frames = self.student(waveforms, lengths)
        task = self.head(states, num_frames, targets)
        return {**parts, "loss": parts["loss"] + self.weight * task, "task_loss": task}

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the groups of the other objective, and the head."""
        head = {"params": self.head.parameters(), "lr": learning_rate * self.learning_rate_scale, "weight_decay": 0.0}
        return [*self.own.parameter_groups(learning_rate), head]

    def with_student(self, student: UpstreamModel) -> TaskAware:
        """Return the same objective for another student of the same width. It shares all other weights."""
        return TaskAware(self.own.with_student(student), self.head, self.weight, self.learning_rate_scale)

    def save(self, folder: Path) -> None:
        """Write what the other objective has, and the head."""
        self.own.save(folder)
        state = {key: value.detach().contiguous() for key, value in self.head.state_dict().items()}
        with replacing(folder / "task_head.safetensors") as temporary:
            temporary.write_bytes(save(state))


def task_aware(
    own: StudentObjective, loss: TaskLoss | None, *, weight: float, learning_rate_scale: float
) -> StudentObjective | TaskAware:
    """Return an objective with a task's loss and a new head. Without a loss it is the objective itself."""
    if loss is None:
        return own
    student = own.student
    return TaskAware(own, loss.head(student.num_layers + 1, student.dim), weight, learning_rate_scale)
