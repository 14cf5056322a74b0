"""Schedules: how the target sparsity rises over a stage, and the multipliers that make the gates follow it.

``fixed`` is DPHuBERT's: a linear ramp, and multipliers that grow at their own learning rate. Rates and ramp must fit
the number of updates. ``auto`` uses feedback, on the time scale of the stage, and fits any number of updates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from bench.upstream.gates import Gates
from compressors.dphubert.config import SparsityConfig
from compressors.dphubert.sparsity import (
    Multipliers,
    expected_sparsity,
    hardened_sparsity,
    target_sparsity,
)
from compressors.settings import StageConfig
from compressors.size.budget import Budget

LEAST_GATE_LEARNING_RATE = 0.02
"""Source: DPHuBERT section 4.1, for 50,000 updates."""
TRAVEL = 30.0
"""Least distance that Adam can move a gate's ``log_alpha`` in a stage: about three times that from open to closed."""
RAMP = 0.7
"""Share of the travel at which the target reaches its final value."""
INITIAL_QUADRATIC = 30.0
"""Initial value of the quadratic multiplier. Feedback finds its scale."""
GROWTH = 150.0
"""Rate of the quadratic multiplier's logarithm, per unit of lag and of travel."""
LARGEST_LAG = 0.05
"""Larger lags are clipped: gates that already move as fast as they can must not raise the multiplier forever."""
OFFSET_TIME = 0.1
"""Share of the travel in which the offset compensates a constant deviation."""
LARGEST_OFFSET = 0.02
RESTORATION = 40.0
"""Rate, per stage, at which a common shift of all gates corrects a missed target."""
HARDENING_UPDATES = 10
"""Updates between two measurements of the sparsity after hardening; the last ones of a stage all measure it. Each reads
numbers of every gate, for which the host waits for a GPU."""
TOLERATED = 0.0025
"""Smaller deviations are ignored: one head more or less makes as large a difference."""
LARGEST_GAIN = 0.5
"""Largest share of the deviation that one update corrects."""
LARGEST_SHIFT = 0.5
"""Largest shift of ``log_alpha`` in one update."""
LEAST_SLOPE = 1e-3
"""Least slope of the sparsity over a common shift: a shift has no effect on gates that are all certain."""


class Schedule(Multipliers, ABC):
    """The ramp of the target, and the multipliers, of one stage."""

    gate_learning_rate: float
    """Peak learning rate of the gates."""

    @abstractmethod
    def target(self, update: int) -> float | Tensor:
        """Return the target sparsity after ``update`` finished updates of the stage."""

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return torch's parameter groups of the multipliers that gradients change."""

    def before_update(self, update: int, gates: Gates) -> None:
        """Adapt to the gates.

        Args:
            update: finished updates of the stage. Called once for each.
            gates: the current gates.
        """

    def logged(self) -> dict[str, Tensor]:
        """Return columns for ``training.csv``."""
        return {"lambda1": self.linear, "lambda2": self.quadratic}


class FixedSchedule(Schedule):
    """DPHuBERT's schedule. Multipliers learn by gradient ascent.

    Source: DPHuBERT section 4.1, and its reference implementation.
    """

    def __init__(self, config: SparsityConfig, initial: float, final: float) -> None:
        """Prepare the schedule.

        Args:
            config: rates and ramp.
            initial: the student's sparsity before the stage.
            final: the final target.
        """
        super().__init__(config.initial_quadratic_multiplier)
        self.config = config
        self.initial, self.final = initial, final
        self.gate_learning_rate = config.gate_learning_rate

    def target(self, update: int) -> float:
        """Return a linear ramp, then the final target."""
        return target_sparsity(self.final, update, self.config.sparsity_warmup_updates, self.initial)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return both multipliers."""
        return [{"params": self.parameters(), "lr": self.config.multiplier_learning_rate, "maximize": True}]


class AutomaticSchedule(Schedule):
    """A schedule that fits any number of updates, and any scale of the loss.

    It measures time as *travel*: the share of the distance that the learning rate lets gates move in the stage. 200
    updates and 50,000 are then the same. The target rises smoothly from the gates' initial size. The penalty is that of
    the augmented Lagrangian, lambda2 ``(s - t - offset)^2`` up to a constant. Before each update, feedback sets:

    - lambda2, which grows by a factor while the expected sparsity lags behind the target, and shrinks while it is
      ahead. This finds the scale of the loss.
    - The offset, and with it lambda1 (-2 lambda2 times the offset). It integrates the deviation of the sparsity *after
      hardening* from the target, as in the method of multipliers. That sparsity is measured every few updates; in
      between, it is taken to differ from the expected sparsity by as much as then.
    - Once the target has its final value, a common shift of all ``log_alpha``, which corrects the remaining deviation
      however low the learning rate is. ``threshold=target`` closes gates by the same rule; here training can respond.

    Source: Nocedal and Wright, Numerical Optimization, section 17.3 (augmented Lagrangian); Stooke et al. (arXiv
    2007.03964), for multipliers under integral control; Zhou et al. (arXiv 2105.01571), for restoring a global sparsity
    constraint over probabilities of masks after each update. Their combination and constants are our own.
    """

    def __init__(self, config: SparsityConfig, stage: StageConfig, budget: Budget) -> None:
        """Prepare the schedule.

        Args:
            config: what is pruned.
            stage: its length and learning rate set the time scale.
            budget: budget at the end of the stage.
        """
        super().__init__(INITIAL_QUADRATIC)
        self.requires_grad_(requires_grad=False)
        self.config = config
        self.budget = budget
        factors = torch.tensor([stage.learning_rate_factor(update) for update in range(stage.updates)])
        self.gate_learning_rate = max(LEAST_GATE_LEARNING_RATE, TRAVEL / max(factors.sum().item(), 1.0))
        # The sum is 0 if the only update of a stage has a learning rate of 0.
        self._shares = (factors / factors.sum().clamp(min=1.0)).tolist()
        self._travelled = [0.0, *torch.tensor(self._shares, dtype=torch.float64).cumsum(0).tolist()]
        self.initial: Tensor
        """The gates' sparsity before the first update."""
        self.offset: Tensor
        """Excess of the expected sparsity over the target that makes the sparsity after hardening meet the target."""
        self.hardened: Tensor
        """The sparsity after hardening, before the current update."""
        self.gap: Tensor
        """The last measured difference of the sparsity after hardening and the expected sparsity."""
        for name in ("initial", "offset", "hardened", "gap"):
            self.register_buffer(name, torch.tensor(0.0))

    def target(self, update: int) -> Tensor:
        """Return a smooth ramp, then the final target."""
        ramp = min(self._travelled[update] / RAMP, 1.0)
        risen: Tensor = (self.budget.sparsity - self.initial) * (ramp**2 * (3 - 2 * ramp))
        return self.initial + risen

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return no group: feedback sets both multipliers."""
        return []

    @torch.no_grad()
    def before_update(self, update: int, gates: Gates) -> None:
        """Set the multipliers and shift the gates. The result depends only on the gates and on checkpointed state."""
        expected, slope = self._expected(gates)
        is_near_the_end = update + HARDENING_UPDATES >= len(self._shares)
        if update % HARDENING_UPDATES == 0 or is_near_the_end:
            self.gap.copy_(hardened_sparsity(gates, self.budget, self.config) - expected)
        self.hardened.copy_(expected + self.gap)
        if update == 0:
            self.initial.copy_(self.hardened)
        missed = self.target(update) - self.hardened
        lag = self.target(update) + self.offset - expected
        share = self._shares[update]
        self.quadratic.mul_((GROWTH * share * lag.clamp(-LARGEST_LAG, LARGEST_LAG)).exp())
        self.offset += missed * share / OFFSET_TIME
        self.offset.clamp_(-LARGEST_OFFSET, LARGEST_OFFSET)
        self.linear.copy_(-2 * self.quadratic * self.offset)
        if self._travelled[update] >= RAMP:
            gain = min(RESTORATION / len(self._shares), LARGEST_GAIN)
            shift = (gain * missed / slope).clamp(-LARGEST_SHIFT, LARGEST_SHIFT)
            # Decided on the device, so that no update waits for it.
            shift = shift * (missed.abs() > TOLERATED)
            # Adding to a parameter of a gate shifts ``log_alpha`` of all its units, whatever kind of gate it is.
            for parameter in gates.parameters():
                parameter.add_(shift)

    def _expected(self, gates: Gates) -> tuple[Tensor, Tensor]:
        """Return the expected sparsity, and its negative slope over a common shift of all ``log_alpha``."""
        parameters = list(gates.parameters())
        with torch.enable_grad():
            expected = expected_sparsity(gates, self.budget, self.config)
            slopes = torch.autograd.grad(expected, parameters)
        return expected.detach(), torch.stack([slope.sum() for slope in slopes]).sum().clamp(max=-LEAST_SLOPE)

    def logged(self) -> dict[str, Tensor]:
        """Return the multipliers, and the sparsity that they respond to."""
        return super().logged() | {"hardened_sparsity": self.hardened}


def schedule_of(config: SparsityConfig, stage: StageConfig, budget: Budget, initial: float) -> Schedule:
    """Create the schedule that the configuration names.

    Args:
        config: names the schedule.
        stage: the stage.
        budget: budget at the end of the stage.
        initial: the student's sparsity before the stage.
    """
    if config.schedule == "auto":
        return AutomaticSchedule(config, stage, budget)
    return FixedSchedule(config, initial, budget.sparsity)
