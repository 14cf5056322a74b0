"""Gates trained alone, by a loss with noise that pulls them open."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.upstream import UpstreamModel
from bench.upstream.config import uniform_config
from bench.upstream.gates import Gates
from compressors.dphubert.schedules import Schedule, schedule_of
from compressors.dphubert.sparsity import SparsityConfig, expected_sparsity, hardened_sparsity
from compressors.size.budget import budget_for
from compressors.training.stages import StageConfig

SHAPES = {
    architecture: uniform_config(architecture, 64, 2, 16, 256, conv_channels=32, positional_kernel=8)
    for architecture in ("hubert", "wavlm")
}
PAPER_UNITS = ("conv", "head", "interm")


class Pull:
    """A loss that every unit lowers by being there, by importances that spread as widely as those of real units."""

    def __init__(self, gates: Gates, scale: float) -> None:
        self.importances = []
        for log_alpha in gates.parameters():
            importances = (1.5 * torch.randn(len(log_alpha))).exp()
            self.importances.append(scale * importances / importances.sum() / len(gates))

    def __call__(self, gates: Gates) -> Tensor:
        """Compute the loss of one noisy batch."""
        losses = []
        for gate, importances in zip(gates.values(), self.importances, strict=True):
            closed = 1 - gate()
            losses.append((importances * (closed**2 + torch.randn_like(closed) * closed)).sum())
        return torch.stack(losses).sum()


def trained_gates(
    config: SparsityConfig, updates: int, architecture: str = "hubert", scale: float = 1.0, warmup: float = 0.1
) -> tuple[Gates, Schedule]:
    """Train gates as the joint stage of dphubert does."""
    torch.manual_seed(0)
    shape = SHAPES[architecture]
    gates = Gates(UpstreamModel(shape), config.units)
    stage = StageConfig(updates=updates, warmup_updates=round(warmup * updates), learning_rate=1e-3)
    budget = budget_for(config, shape)
    schedule, pull = schedule_of(config, stage, budget, 0.0), Pull(gates, scale)
    groups = [{"params": gates.parameters(), "lr": schedule.gate_learning_rate}, *schedule.parameter_groups()]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, stage.learning_rate_factor)
    for update in range(updates):
        schedule.before_update(update, gates)
        optimizer.zero_grad()
        (pull(gates) + schedule(expected_sparsity(gates, budget, config), schedule.target(update))).backward()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        scheduler.step()
    return gates, schedule


def missed(gates: Gates, config: SparsityConfig) -> float:
    """By how much what pruning by the gates' own expectation leaves misses the target, in parameters of the teacher."""
    budget = budget_for(config, gates.shape)
    return hardened_sparsity(gates, budget, config) - budget.sparsity
