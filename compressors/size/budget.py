"""How small a model has to become: a share of its teacher's parameters or MACs, or a number of parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, PositiveInt, model_validator
from torch import Tensor
from typing_extensions import Self

from bench.contracts import Settings
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

TOLERANCE = 0.01
"""By how much a result may be off its budget, as a fraction of what is wanted."""

_POWERS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def _number_of_parameters(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmg]?)", value.strip().lower())
    if found is None:
        raise ValueError("expected a number of parameters such as 23.6M, 900k or 23600000")
    return round(float(found[1]) * _POWERS[found[2]])


def _sizes(value: Any) -> Any:
    values = value if isinstance(value, list | tuple) else [value]
    try:
        numbers = [float(each) for each in values]
    except (TypeError, ValueError):
        numbers = []
    is_ascending = numbers == sorted(set(numbers))
    if not numbers or not is_ascending or not all(0 < number < 1 for number in numbers):
        raise ValueError(
            "expected a number greater than 0 and less than 1, or different ones in ascending order such as [0.5, 0.75]"
        )
    return value


class BudgetConfig(Settings):
    """How small the model becomes; a compressor's configuration inherits it."""

    takes_sizes: ClassVar[bool] = False
    """Whether ``sparsity`` may be several; see `compressors.size.several_sizes`."""

    target: Literal["params", "macs"] = "params"
    """What ``sparsity`` is a fraction of: the teacher's ``params`` in DPHuBERT's counting, or its ``macs``, the plain
    count over SUPERB's 32 utterance lengths."""
    sparsity: Annotated[float | tuple[float, ...], BeforeValidator(_sizes)] = 0.75
    """Fraction of the teacher's parameters or MACs to remove. Some methods take several in ascending order,
    ``[0.5, 0.75]``: one call makes a model at each, the later ones from the earlier."""
    params: Annotated[PositiveInt | None, BeforeValidator(_number_of_parameters)] = None
    """Trainable parameters of the result at most, as the leaderboard counts them, in place of ``sparsity``: ``23.6M``,
    ``900k`` or ``23600000``."""

    @model_validator(mode="after")
    def _has_one_budget(self) -> Self:
        if self.params is not None and self.target == "macs":
            raise ValueError(f"params={self.params} and target=macs are two budgets; leave one of them out")
        if self.sizes and not self.takes_sizes:
            raise ValueError("this method makes one size at a time; give sparsity one number, or use bench sweep")
        if self.sizes and self.params is not None:
            raise ValueError(f"params={self.params} and several of sparsity are two budgets; leave one of them out")
        return self

    @property
    def sizes(self) -> tuple[float, ...]:
        """The sparsities of a call that makes several models; empty: it makes one."""
        return self.sparsity if isinstance(self.sparsity, tuple) else ()

    @property
    def final_sparsity(self) -> float:
        """``sparsity``, of the smallest model."""
        return self.sparsity[-1] if isinstance(self.sparsity, tuple) else self.sparsity


@dataclass(frozen=True)
class Budget:
    """The budget of one teacher's compression."""

    counting: Literal["dphubert_params", "params", "macs"]
    """DPHuBERT counts the frozen scale of the last convolution's channels among the parameters; the leaderboard, and
    so a size in absolute terms, does not."""
    original: int
    """Of the teacher."""
    wanted: int
    """Of the result."""
    sparsity: float
    """Fraction to remove."""

    def measure(self, config: UpstreamConfig) -> int:
        """Count the parameters, or the MACs over SUPERB's 32 utterance lengths, of a model of this shape."""
        return _measure(self.counting, config)

    def measure_units(self, config: UpstreamConfig, units: Units, embeddings: Count) -> Tensor:
        """Count as `measure` does, with ``units`` and position ``embeddings`` in place of ``config``'s own.

        Arguments are those of `bench.upstream.cost.macs_of_units`, so that gates may expect them; differentiable.
        """
        if self.counting == "macs":
            return macs_of_units(config, units, embeddings)
        parameters = gateable_parameters(config, units)
        parameters = parameters + position_bias_parameters(config, units["attlayer"], embeddings)
        return parameters - units["conv"][-1] if self.counting == "params" else parameters

    def reached(self, config: UpstreamConfig) -> float:
        """Return the sparsity of a model of this shape."""
        return 1 - self.measure(config) / self.original

    def part(self, share: float, beginning: float = 0.0) -> Budget:
        """Return the budget of having removed a share of what is to be removed, from a sparsity at the beginning."""
        sparsity = beginning + share * (self.sparsity - beginning)
        removed = self.original * beginning
        wanted = round(self.original - removed - share * (self.original - removed - self.wanted))
        return replace(self, wanted=wanted, sparsity=sparsity)


def budget_for(config: BudgetConfig, teacher: UpstreamConfig) -> Budget:
    """Work out the budget of compressing a teacher of this shape; that of the smallest model where there are several.

    Raises:
        UserError: ``params`` is no less than what the teacher has.
    """
    if config.params is not None:
        original = count_parameters(teacher)
        if config.params >= original:
            raise UserError(
                f"Expected params below the teacher's {original} parameters. Found params={config.params}. Lower it, "
                "or choose a larger --teacher."
            )
        return Budget("params", original, config.params, 1 - config.params / original)
    counting: Literal["dphubert_params", "macs"] = "macs" if config.target == "macs" else "dphubert_params"
    original = _measure(counting, teacher)
    return Budget(counting, original, round((1 - config.final_sparsity) * original), config.final_sparsity)


def _measure(counting: str, config: UpstreamConfig) -> int:
    if counting == "macs":
        return count_superb_macs(config)
    return count_parameters(config) if counting == "params" else count_dphubert_parameters(config)
