"""The size that a model must reach: a share of its teacher's parameters, MACs or latency, or a number of parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from bench.errors import UserError
from bench.upstream import UpstreamConfig
from bench.upstream.cost import (
    Count,
    Units,
    count_dphubert_parameters,
    count_parameters,
    count_superb_macs,
    gateable_parameters,
    macs_of_units,
    position_bias_parameters,
)
from compressors.settings import BudgetConfig
from compressors.size.latency import LatencyTable, latency_table

TOLERANCE = 0.01
"""Largest deviation of a result from its budget, as a fraction of the budget."""


@dataclass(frozen=True)
class Budget:
    """The budget of one teacher's compression."""

    counting: Literal["dphubert_params", "params", "macs", "latency"]
    """What is counted. DPHuBERT's parameters include the frozen scale of the last convolution's channels. Those of the
    leaderboard, and sizes in absolute terms, do not. Latency is in nanoseconds."""
    original: int
    """Size of the teacher."""
    wanted: int
    """Size of the result."""
    sparsity: float
    """Fraction to remove."""
    table: LatencyTable | None = None
    """Timings of the teacher's layers, if latency is counted."""

    @property
    def quantity(self) -> str:
        """What is counted, in messages."""
        return {"macs": "MACs", "latency": "ns of latency"}.get(self.counting, "parameters")

    def measure(self, config: UpstreamConfig) -> int:
        """Count the parameters, latency, or MACs over SUPERB's 32 utterance lengths, of a model of this shape."""
        return _measure(self.counting, config) if self.table is None else self.table.of(config)

    def pays(self, inputs: int, outputs: int, rank: int) -> bool:
        """Whether a low-rank linear layer is smaller than a dense one, or faster if latency is counted."""
        if self.table is not None:
            return self.table.saving(inputs, outputs, rank) > 0
        return rank * (inputs + outputs) < inputs * outputs

    def measure_units(self, config: UpstreamConfig, units: Units, embeddings: Count) -> Tensor:
        """Count as `measure` does, with ``units`` and position ``embeddings`` instead of those of ``config``.

        The result is differentiable. The arguments are those of `bench.upstream.cost.macs_of_units` and may be
        expectations of gates.
        """
        if self.table is not None:
            return self.table.of_units(units)
        if self.counting == "macs":
            return macs_of_units(config, units, embeddings)
        parameters = gateable_parameters(config, units)
        parameters = parameters + position_bias_parameters(config, units["attlayer"], embeddings)
        return parameters - units["conv"][-1] if self.counting == "params" else parameters

    def reached(self, config: UpstreamConfig) -> float:
        """Return the sparsity of a model of this shape."""
        return 1 - self.measure(config) / self.original

    def part(self, share: float, beginning: float = 0.0) -> Budget:
        """Return the budget of a part of the way from the sparsity ``beginning``; ``share`` is the share removed."""
        sparsity = beginning + share * (self.sparsity - beginning)
        removed = self.original * beginning
        wanted = round(self.original - removed - share * (self.original - removed - self.wanted))
        return replace(self, wanted=wanted, sparsity=sparsity)


def budget_for(config: BudgetConfig, teacher: UpstreamConfig) -> Budget:
    """Return the budget for a teacher of this shape. With several sizes it is that of the smallest model.

    Raises:
        UserError: the teacher has no more parameters than ``params``.
    """
    if config.params is not None:
        original = count_parameters(teacher)
        if config.params >= original:
            raise UserError(
                f"Expected params below the teacher's {original} parameters. Found params={config.params}. Lower it, "
                "or choose a larger --teacher."
            )
        return Budget("params", original, config.params, 1 - config.params / original)
    if config.target == "latency":
        table = latency_table(teacher)
        original = table.of(teacher)
        wanted = round((1 - config.final_sparsity) * original)
        return Budget("latency", original, wanted, config.final_sparsity, table)
    counting: Literal["dphubert_params", "macs"] = "macs" if config.target == "macs" else "dphubert_params"
    original = _measure(counting, teacher)
    return Budget(counting, original, round((1 - config.final_sparsity) * original), config.final_sparsity)


def timings(config: BudgetConfig, teacher: UpstreamConfig) -> dict[str, object]:
    """Return what a budget of latency depends on besides the settings, for the identity of the work.

    Another machine times other layers as slow, and in the middle of the work that would be another budget.
    """
    if config.target != "latency":
        return {}
    return {"timings of this machine": latency_table(teacher).model_dump(mode="json")}


def _measure(counting: str, config: UpstreamConfig) -> int:
    if counting == "macs":
        return count_superb_macs(config)
    return count_parameters(config) if counting == "params" else count_dphubert_parameters(config)
