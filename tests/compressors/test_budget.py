"""Budgets: what the user may ask for, and what it means for a teacher."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bench.errors import UserError
from bench.upstream.config import uniform_config
from bench.upstream.cost import count_parameters, superb_macs
from compressors.settings import BudgetConfig
from compressors.size.budget import budget_for

HUBERT_BASE = uniform_config("hubert", 768, 12, 12, 3072)
HALF_WIDTH = uniform_config("hubert", 384, 12, 12, 1536)


class TestConfig:
    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("23.6M", 23_600_000),
            ("900k", 900_000),
            ("1.2g", 1_200_000_000),
            ("23600000", 23_600_000),
            (23_600_000, 23_600_000),
            (None, None),
        ],
    )
    def test_sizes_as_people_write_them(self, text: Any, number: int | None) -> None:
        config = BudgetConfig(params=text)
        assert config.params == number
        assert BudgetConfig.model_validate_json(config.model_dump_json()) == config

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"params": "23,6M"}, "such as 23.6M"),
            ({"params": "20MB"}, "such as 23.6M"),
            ({"params": 0}, "greater than 0"),
            ({"params": "23.6M", "target": "macs"}, "two budgets"),
            ({"target": "size"}, "'params', 'macs' or 'latency'"),
            ({"sparsity": 1.0}, "less than 1"),
            ({"sparsity": 0.0}, "greater than 0"),
        ],
    )
    def test_refuses_what_is_no_budget(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            BudgetConfig(**changes)


class TestBudget:
    def test_of_parameters_counts_as_dphubert_does(self) -> None:
        budget = budget_for(BudgetConfig(sparsity=0.75), HUBERT_BASE)
        assert (budget.original, budget.wanted, budget.sparsity) == (94_371_456, 23_592_864, 0.75)
        assert budget.measure(HUBERT_BASE) == 94_371_456
        assert budget.reached(HUBERT_BASE) == 0

    def test_of_macs_counts_superb_s_utterances(self) -> None:
        budget = budget_for(BudgetConfig(sparsity=0.5, target="macs"), HUBERT_BASE)
        assert budget.original == superb_macs(HUBERT_BASE).macs
        assert budget.wanted == pytest.approx(budget.original / 2, abs=1)
        assert budget.reached(HALF_WIDTH) == pytest.approx(
            1 - superb_macs(HALF_WIDTH).macs / superb_macs(HUBERT_BASE).macs
        )

    def test_in_absolute_terms_counts_as_the_leaderboard_does(self) -> None:
        budget = budget_for(BudgetConfig(params="23.6M", sparsity=0.1), HUBERT_BASE)  # type: ignore[arg-type]
        assert (budget.original, budget.wanted) == (94_370_944, 23_600_000)
        assert budget.sparsity == pytest.approx(1 - 23_600_000 / 94_370_944)
        assert budget.measure(HALF_WIDTH) == count_parameters(HALF_WIDTH)

    @pytest.mark.parametrize("params", ["94370944", "315M"])
    def test_must_be_below_the_teacher_s(self, params: str) -> None:
        with pytest.raises(UserError, match=r"below the teacher's 94370944 parameters. Found params="):
            budget_for(BudgetConfig(params=params), HUBERT_BASE)  # type: ignore[arg-type]

    @pytest.mark.parametrize("settings", [{"sparsity": 0.75}, {"sparsity": 0.5, "target": "macs"}, {"params": "23.6M"}])
    def test_is_met_in_equal_parts(self, settings: dict[str, Any]) -> None:
        whole = budget_for(BudgetConfig(**settings), HUBERT_BASE)
        assert whole.part(1.0) == whole
        third = whole.part(1 / 3)
        assert third.sparsity == pytest.approx(whole.sparsity / 3)
        assert third.original - third.wanted == pytest.approx((whole.original - whole.wanted) / 3, abs=1)
        assert third.original == whole.original
