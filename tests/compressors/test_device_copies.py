"""A training step makes no tensor from Python values, and reads none: on a GPU, the host waits for each such copy.

Simulated on the CPU, by the operations that a step calls.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.testing import tiny_teacher
from bench.upstream.cost import UNITS
from bench.upstream.gates import Gates
from compressors.dphubert.config import MINI
from compressors.dphubert.joint_stage import JointDistillationPruning
from compressors.dphubert.sparsity import expected_sparsity
from compressors.settings import StageConfig
from compressors.size.budget import budget_for
from compressors.training.loop import StageModule

COPY = "aten.lift_fresh.default"
"""What torch calls for every tensor that is made from Python values."""
BOOLEAN_INDEX = ("aten.index.Tensor", "aten.index_put.default")
"""Reads how many entries are true."""


class Calls(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("architecture", ["hubert", "wavlm"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule": "auto"},
        {"objective": "both"},
        {"target": "macs", "units": UNITS},
        {"expected_size": "reference"},
    ],
    ids=str,
)
def test_a_step_copies_and_reads_no_values(architecture: str, changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    objective = JointDistillationPruning(tiny_teacher(architecture), MINI.model_copy(update=changes)).train()
    optimizer = torch.optim.AdamW(objective.parameter_groups(1e-3))
    labels = [torch.zeros(2, 1, 24, dtype=torch.long)] if "objective" in changes else []
    inputs = [torch.randn(2, 8000), *labels]
    module = StageModule(objective, StageConfig(updates=3, warmup_updates=1, learning_rate=1e-3), 0)

    def step(update: int) -> None:
        objective.before_update(update, optimizer)
        parts = objective(*inputs, update)
        {key: module._scalar(value) for key, value in parts.items()}
        parts["loss"].backward()

    step(0)
    with Calls() as calls:
        step(1)
    assert not {name: calls.counts[name] for name in (COPY, *BOOLEAN_INDEX) if calls.counts[name]}
    # The only number that is read decides a mask's number of spans. It is drawn on the CPU.
    assert calls.counts["aten._local_scalar_dense.default"] == len(labels)


def test_constants_first_made_in_inference_mode_can_be_trained_with() -> None:
    shape = tiny_teacher().config.model_copy(update={"positional_kernel": 6})
    gates = Gates(tiny_teacher(), ["head"])
    budget = budget_for(MINI, shape)
    with torch.inference_mode():
        expected_sparsity(gates, budget, MINI)
    expected_sparsity(gates, budget, MINI).backward()
    assert all(gate.grad is not None for gate in gates.parameters())
