"""Measure how closely ``schedule=auto`` meets its sparsity in stages of any length, on gates alone with a noisy loss.

Usage: ``python -m benchmarks.automatic_schedule --updates 200,50000 --sparsity 0.75,0.875``. A stage of 50,000 updates
takes about 15 minutes on one core. This script produced the table in docs/experiments.md.
"""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from torch import Tensor

from bench.upstream import UpstreamModel
from bench.upstream.config import uniform_config
from bench.upstream.gates import Gates
from compressors.dphubert.config import SparsityConfig
from compressors.dphubert.schedules import Schedule, schedule_of
from compressors.dphubert.sparsity import expected_sparsity, hardened_sparsity
from compressors.settings import StageConfig
from compressors.size.budget import budget_for

SHAPES = {
    architecture: uniform_config(architecture, 64, 2, 16, 256, conv_channels=32, positional_kernel=8)
    for architecture in ("hubert", "wavlm")
}


class Pull:
    """A noisy loss that falls as units open. Their importances spread as widely as those of real units."""

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
    """Return the sparsity after hardening minus the target sparsity."""
    budget = budget_for(config, gates.shape)
    return hardened_sparsity(gates, budget, config) - budget.sparsity


def main(
    updates: Annotated[
        str, typer.Option(help="Lengths of the stage, separated by commas.")
    ] = "200,1000,3000,10000,50000",
    sparsity: Annotated[str, typer.Option(help="Target sparsities, separated by commas.")] = "0.75,0.875",
) -> None:
    """Print by how much the sparsity after hardening misses the target, for each length and sparsity."""
    typer.echo("sparsity  updates  missed by (% of parameters)")
    for wanted in map(float, sparsity.split(",")):
        config = SparsityConfig(schedule="auto", sparsity=wanted)
        for length in map(int, updates.split(",")):
            gates, _ = trained_gates(config, length, warmup=0.3)
            typer.echo(f"{wanted:8.3f}  {length:7d}  {100 * missed(gates, config):+.3f}")


if __name__ == "__main__":
    typer.run(main)
