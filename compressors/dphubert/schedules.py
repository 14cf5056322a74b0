"""Schedules: how the target of the sparsity rises over a stage, and what pulls the gates along it.

``fixed`` is DPHuBERT's: a linear ramp, and multipliers that climb at a rate of their own. Rates and ramp have to fit
the number of updates. ``auto`` fits itself: feedback, in the time scale of the stage.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from bench.upstream.gates import Gates
from compressors.dphubert.sparsity import (
    Multipliers,
    SparsityConfig,
    expected_sparsity,
    hardened_sparsity,
    target_sparsity,
)
from compressors.size.budget import Budget
from compressors.training.stages import StageConfig

LEAST_GATE_LEARNING_RATE = 0.02
"""Source: DPHuBERT section 4.1, for 50,000 updates."""
TRAVEL = 30.0
"""How far Adam can move a gate's ``log_alpha`` in a stage, at least: about three times the way from open to closed."""
RAMP = 0.7
"""Share of the travel after which the target stays."""
INITIAL_QUADRATIC = 30.0
"""Where the quadratic multiplier starts; it finds its own scale from there."""
GROWTH = 150.0
"""Rate of the quadratic multiplier's logarithm, per unit of lag and of travel."""
LARGEST_LAG = 0.05
"""A lag counts as no larger: gates that move as fast as they can must not drive the multiplier up for ever."""
OFFSET_TIME = 0.1
"""Share of the travel in which the offset would make up for a deviation that stays."""
LARGEST_OFFSET = 0.02
RESTORATION = 40.0
"""Rate at which a common shift of all gates makes up for what the target is missed by, per stage."""
TOLERATED = 0.0025
"""A sparsity that is missed by less is left alone: a whole head that is just kept, or just not, cannot do better."""
LARGEST_GAIN = 0.5
"""Of what is missed, made up for in one update."""
LARGEST_SHIFT = 0.5
"""Of ``log_alpha`` in one update."""
LEAST_SLOPE = 1e-3
"""Of the sparsity over a common shift: where all gates are certain, a shift is no way to change it."""


class Schedule(Multipliers, ABC):
    """The target's ramp and the multipliers of one stage."""

    gate_learning_rate: float
    """Peak learning rate of the gates."""

    @abstractmethod
    def target(self, update: int) -> float | Tensor:
        """Return the sparsity aimed at after ``update`` finished updates of the stage."""

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return torch's parameter groups of what gradients change."""

    def before_update(self, update: int, gates: Gates) -> None:
        """Adapt to what the gates have come to.

        Args:
            update: finished updates of the stage; each is told once.
            gates: as they are then.
        """

    def logged(self) -> dict[str, Tensor]:
        """Return what ``training.csv`` tells of it."""
        return {"lambda1": self.linear, "lambda2": self.quadratic}


class FixedSchedule(Schedule):
    """DPHuBERT's schedule; multipliers are learned by gradient ascent.

    Source: DPHuBERT section 4.1, and its reference implementation.
    """

    def __init__(self, config: SparsityConfig, initial: float, final: float) -> None:
        """Prepare the schedule.

        Args:
            config: rates and ramp.
            initial: the student's sparsity before the stage.
            final: the sparsity wanted.
        """
        super().__init__(config.initial_quadratic_multiplier)
        self.config = config
        self.initial, self.final = initial, final
        self.gate_learning_rate = config.gate_learning_rate

    def target(self, update: int) -> float:
        """Return a linear ramp, then the sparsity wanted."""
        return target_sparsity(self.final, update, self.config.sparsity_warmup_updates, self.initial)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return both multipliers."""
        return [{"params": self.parameters(), "lr": self.config.multiplier_learning_rate, "maximize": True}]


class AutomaticSchedule(Schedule):
    """A schedule that fits any number of updates, and any scale of the loss.

    Time is *travel*: the share of the way that the learning rate lets gates go in the stage, so that 200 updates and
    50,000 are the same to it. The target rises smoothly from the gates' own size. The penalty is that of the augmented
    Lagrangian, lambda2 ``(s - t - offset)^2`` but for a constant, and feedback sets three things before each update:

    - lambda2 grows by a factor while the expected sparsity lags behind, and shrinks while it is ahead: it finds the
      scale of the loss.
    - The offset, and with it lambda1 (-2 lambda2 times the offset), integrates by how much the sparsity *counted after
      hardening* misses the target, as in the method of multipliers.
    - Once the target stays, a common shift of all ``log_alpha`` makes up for what is still missed, however low the
      learning rate has become. It is the rule by which ``threshold=target`` closes gates, while training can answer.

    Source: Nocedal and Wright, Numerical Optimization, section 17.3 (augmented Lagrangian); Stooke et al. (arXiv
    2007.03964), for multipliers under integral control; Zhou et al. (arXiv 2105.01571), for restoring a global sparsity
    constraint over probabilities of masks after each update. Their combination and constants are our own.
    """

    def __init__(self, config: SparsityConfig, stage: StageConfig, budget: Budget) -> None:
        """Prepare the schedule.

        Args:
            config: what is pruned.
            stage: whose length and learning rates it follows.
            budget: to be met at its end.
        """
        super().__init__(INITIAL_QUADRATIC)
        self.requires_grad_(requires_grad=False)
        self.config = config
        self.budget = budget
        factors = torch.tensor([stage.learning_rate_factor(update) for update in range(stage.updates)])
        self.gate_learning_rate = max(LEAST_GATE_LEARNING_RATE, TRAVEL / max(factors.sum().item(), 1.0))
        # The sum is 0 where the one update of a stage has a learning rate of 0.
        self._shares = (factors / factors.sum().clamp(min=1.0)).tolist()
        self._travelled = [0.0, *torch.tensor(self._shares, dtype=torch.float64).cumsum(0).tolist()]
        self.initial: Tensor
        """The gates' sparsity before the first update."""
        self.offset: Tensor
        """By how much the expected sparsity has to exceed the target, so that the sparsity after hardening meets it."""
        self.hardened: Tensor
        """The sparsity after hardening, before the current update."""
        for name in ("initial", "offset", "hardened"):
            self.register_buffer(name, torch.tensor(0.0))

    def target(self, update: int) -> Tensor:
        """Return a ramp without corners, then the sparsity wanted."""
        ramp = min(self._travelled[update] / RAMP, 1.0)
        risen: Tensor = (self.budget.sparsity - self.initial) * (ramp**2 * (3 - 2 * ramp))
        return self.initial + risen

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return none: feedback sets both multipliers."""
        return []

    @torch.no_grad()
    def before_update(self, update: int, gates: Gates) -> None:
        """Set the multipliers and shift the gates, as a function of the gates and of what checkpoints keep."""
        self.hardened.fill_(hardened_sparsity(gates, self.budget, self.config))
        if update == 0:
            self.initial.copy_(self.hardened)
        missed = self.target(update) - self.hardened
        expected, slope = self._expected(gates)
        lag = self.target(update) + self.offset - expected
        share = self._shares[update]
        self.quadratic.mul_((GROWTH * share * lag.clamp(-LARGEST_LAG, LARGEST_LAG)).exp())
        self.offset += missed * share / OFFSET_TIME
        self.offset.clamp_(-LARGEST_OFFSET, LARGEST_OFFSET)
        self.linear.copy_(-2 * self.quadratic * self.offset)
        if self._travelled[update] >= RAMP and missed.abs() > TOLERATED:
            gain = min(RESTORATION / len(self._shares), LARGEST_GAIN)
            shift = (gain * missed / slope).clamp(-LARGEST_SHIFT, LARGEST_SHIFT)
            for log_alpha in gates.parameters():
                log_alpha.add_(shift)

    def _expected(self, gates: Gates) -> tuple[Tensor, Tensor]:
        """Return the expected sparsity, and its slope over a common shift of all ``log_alpha``, which is negative."""
        parameters = list(gates.parameters())
        with torch.enable_grad():
            expected = expected_sparsity(gates, self.budget, self.config)
            slopes = torch.autograd.grad(expected, parameters)
        return expected.detach(), torch.stack([slope.sum() for slope in slopes]).sum().clamp(max=-LEAST_SLOPE)

    def logged(self) -> dict[str, Tensor]:
        """Return the multipliers, and the sparsity that they answer to."""
        return super().logged() | {"hardened_sparsity": self.hardened}


def schedule_of(config: SparsityConfig, stage: StageConfig, budget: Budget, initial: float) -> Schedule:
    """Make the schedule that the configuration names.

    Args:
        config: says which.
        stage: that it is for.
        budget: to be met at its end.
        initial: the student's sparsity before it.
    """
    if config.schedule == "auto":
        return AutomaticSchedule(config, stage, budget)
    return FixedSchedule(config, initial, budget.sparsity)
