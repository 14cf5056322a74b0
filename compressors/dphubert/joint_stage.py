"""Stage 1 of DPHuBERT: distillation while gates close under a rising sparsity target."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from bench.contracts import TaskLoss
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.gates import Gates
from bench.upstream.initialisation import uninitialised
from bench.upstream.pruning import pruned_config
from compressors.dphubert.config import DPHuBERTConfig
from compressors.dphubert.schedules import schedule_of
from compressors.dphubert.shrinking import SHRINK_UPDATES, carry_over, open_units, without_closed
from compressors.dphubert.sparsity import expected_sparsity, final_masks
from compressors.objectives.student_objective import StudentObjective, student_objective
from compressors.objectives.task_aware import TaskAware, task_aware
from compressors.size.budget import budget_for
from compressors.size.pruning import pruned_model, report_size
from compressors.students.copies import trainable_copy
from compressors.training.objective import Objective


class JointDistillationPruning(Objective):
    """A gated copy learns from the teacher. A regulariser holds its expected sparsity to a rising target."""

    def __init__(
        self,
        teacher: UpstreamModel,
        config: DPHuBERTConfig,
        device: str = "cpu",
        start: StudentObjective | TaskAware | None = None,
        task: TaskLoss | None = None,
    ) -> None:
        """Prepare the stage.

        Args:
            teacher: what the student learns from.
            config: settings of one size.
            device: where the teacher runs.
            start: an earlier objective. The student is then a copy of its student instead of the teacher, and its
                predictors are kept.
            task: its loss is added, if there is no ``start``.
        """
        super().__init__()
        self.config = config
        self.budget = budget_for(config, teacher.config)
        student = trainable_copy(start.student if start else teacher, config.dropout)
        initial_sparsity = self.budget.reached(student.config)
        self.teacher_shape = teacher.config
        self.distillation: StudentObjective | TaskAware = (
            start.with_student(student)
            if start
            else with_task(student_objective(student, teacher, config, device), config, task)
        )
        self.gates = Gates(student, config.units, config.gates)
        self.gates.attach()
        self.multipliers = schedule_of(config, config.joint, self.budget, initial_sparsity)

    def forward(self, *inputs: Any) -> dict[str, Tensor | float]:
        """Compute the loss and the regulariser of the sparsity. ``inputs`` are those of the student's objective."""
        distillation = self.distillation(*inputs)
        target = self.multipliers.target(inputs[-1])
        expected = expected_sparsity(self.gates, self.budget, self.config)
        regulariser = self.multipliers(expected, target)
        return {
            **distillation,
            "loss": distillation["loss"] + regulariser,
            "distillation": distillation["loss"],
            "regulariser": regulariser,
            "expected_sparsity": expected,
            "target_sparsity": target,
            **self.multipliers.logged(),
        }

    def before_update(self, update: int, optimizer: Optimizer) -> None:
        """Remove closed units from the student (``shrink``), and adapt the schedule."""
        if self.config.shrink and update % SHRINK_UPDATES == 0:
            self._shrink(optimizer)
        self.multipliers.before_update(update, self.gates)

    def _shrink(self, optimizer: Optimizer) -> None:
        masks = open_units(self.gates)
        if all(mask.all() for mask in masks.values()):
            return
        shape = self.gates.shape
        before = dict(self.named_parameters())
        state = {
            name: without_closed(name, value, masks, shape.head_dim)
            for name, value in self.state_dict().items()
            if isinstance(value, Tensor)
        }
        shrunk = pruned_config(shape, masks, keep_position_bias=self.config.keep_position_bias)
        self.load_state_dict(state | {"_extra_state": shrunk.model_dump_json()})
        carry_over(optimizer, before, dict(self.named_parameters()), masks, shape.head_dim)

    def get_extra_state(self) -> str:
        """Return the student's shape, which shrinking changes."""
        return self.gates.shape.model_dump_json()

    def set_extra_state(self, state: str) -> None:
        """Give the student a new shape, before weights of that shape are loaded."""
        shape = UpstreamConfig.model_validate_json(state)
        if shape != self.gates.shape:
            student = self.distillation.student
            smaller = uninitialised(shape).to(student.layer_norm.weight)
            self.gates.detach()
            self.distillation = self.distillation.with_student(smaller.train(student.training))
            self.gates = Gates(smaller, self.config.units).to(student.layer_norm.weight).train(self.gates.training)
            self.gates.attach()

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the groups of weights, gates and multipliers; the multipliers use gradient ascent."""
        gates = {"params": self.gates.parameters(), "lr": self.multipliers.gate_learning_rate}
        return [
            *self.distillation.parameter_groups(learning_rate),
            *(group | {"weight_decay": 0.0} for group in (gates, *self.multipliers.parameter_groups())),
        ]

    def pruned(self) -> StudentObjective | TaskAware:
        """Return the objective of stage 2, for the pruned student with the same predictors."""
        masks = final_masks(self.gates, self.teacher_shape, self.config)
        student = pruned_model(self.distillation.student, masks, self.config)
        hint = ", or threshold=reference misses it"
        report_size(student.config, self.budget, self.config, hint=hint)
        return self.distillation.with_student(student)


def with_task(own: StudentObjective, config: DPHuBERTConfig, task: TaskLoss | None) -> StudentObjective | TaskAware:
    """Return an objective with the loss of a task, weighted as the configuration says."""
    scale = config.predictor_learning_rate_scale
    return task_aware(own, task, weight=config.task_weight, learning_rate_scale=scale)
