"""Schedules that fit themselves: gates alone, which a loss with noise pulls open, meet the target in any stage."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from bench.upstream import UpstreamModel
from bench.upstream.cost import UNITS
from bench.upstream.gates import Gates
from bench.upstream.pruning import pruned_config
from benchmarks.automatic_schedule import SHAPES, missed, trained_gates
from compressors.dphubert.config import SparsityConfig
from compressors.dphubert.schedules import AutomaticSchedule, schedule_of
from compressors.dphubert.sparsity import final_masks, hardened_sparsity
from compressors.settings import StageConfig
from compressors.size.budget import budget_for

PAPER_UNITS = ("conv", "head", "interm")


class TestAutomatic:
    @pytest.mark.parametrize(
        ("architecture", "scale", "settings"),
        [
            ("hubert", 0.01, {"sparsity": 0.5}),
            ("hubert", 1.0, {"sparsity": 0.75}),
            ("hubert", 100.0, {"sparsity": 0.875}),
            ("wavlm", 1.0, {"sparsity": 0.5, "target": "macs", "units": UNITS}),
        ],
        ids=str,
    )
    def test_gates_meet_the_target_by_themselves_in_200_updates(
        self, architecture: str, scale: float, settings: dict[str, Any]
    ) -> None:
        config = SparsityConfig.model_validate({"schedule": "auto", **settings})
        gates, _ = trained_gates(config, 200, architecture, scale)
        assert abs(missed(gates, config)) < 0.005
        budget = budget_for(config, gates.shape)
        final = budget.measure(pruned_config(gates.shape, final_masks(gates, gates.shape, config)))
        feed_forward_unit = 2 * gates.shape.dim + 1
        assert 0 <= budget.wanted - final <= max(0.005 * budget.wanted, feed_forward_unit)

    @pytest.mark.slow
    @pytest.mark.parametrize(("updates", "warmup"), [(1000, 0.0), (3000, 0.3)])
    def test_and_in_more(self, updates: int, warmup: float) -> None:
        config = SparsityConfig(schedule="auto", units=("head", "interm"))
        gates, _ = trained_gates(config, updates, warmup=warmup)
        assert abs(missed(gates, config)) < 0.005

    def test_rates_of_another_length_miss_it(self) -> None:
        """DPHuBERT's rates are for 50,000 updates."""
        config = SparsityConfig(sparsity_warmup_updates=20)
        gates, _ = trained_gates(config, 200)
        assert abs(missed(gates, config)) > 0.1

    def test_gates_are_rarely_hardened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A GPU's host waits for every number that hardening reads."""
        calls = []

        def counted(*arguments: Any) -> float:
            calls.append(arguments)
            return hardened_sparsity(*arguments)

        monkeypatch.setattr("compressors.dphubert.schedules.hardened_sparsity", counted)
        config = SparsityConfig(schedule="auto", units=("head", "interm"))
        gates, _ = trained_gates(config, 200)
        assert len(calls) <= 200 / 10 + 10
        assert abs(missed(gates, config)) < 0.005

    def test_goes_on_from_its_state(self) -> None:
        config = SparsityConfig(schedule="auto", units=("interm",), sparsity=0.4)
        gates, schedule = trained_gates(config, 20)
        stage = StageConfig(updates=20, warmup_updates=2, learning_rate=1e-3)
        copy = AutomaticSchedule(config, stage, budget_for(config, gates.shape))
        copy.load_state_dict(schedule.state_dict())
        other = Gates(UpstreamModel(gates.shape), config.units)
        other.load_state_dict(gates.state_dict())
        for update in (17, 19):
            for each, its_gates in ((schedule, gates), (copy, other)):
                each.before_update(update, its_gates)
        for name, value in schedule.state_dict().items():
            assert torch.equal(value, copy.state_dict()[name]), name
        for name, value in gates.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name

    def test_starts_where_the_gates_are_and_ends_at_the_target(self) -> None:
        config = SparsityConfig(schedule="auto")
        gates = Gates(UpstreamModel(SHAPES["hubert"]), PAPER_UNITS)
        stage = StageConfig(updates=100, warmup_updates=30, learning_rate=1e-3)
        budget = budget_for(config, gates.shape)
        schedule = schedule_of(config, stage, budget, 0.0)
        schedule.before_update(0, gates)
        targets = [float(schedule.target(update)) for update in range(101)]
        assert targets[0] == pytest.approx(hardened_sparsity(gates, budget, config))
        assert targets == sorted(targets)
        assert targets[60] == pytest.approx(0.75, abs=1e-6)
        assert targets[15] - targets[0] < 0.05, "gates cannot move before the learning rate has risen"

    @pytest.mark.parametrize(("updates", "rate"), [(200, 0.3), (50_000, 0.02)])
    def test_gates_can_travel_in_any_stage(self, updates: int, rate: float) -> None:
        config = SparsityConfig(schedule="auto")
        stage = StageConfig(updates=updates, warmup_updates=updates // 10, learning_rate=1e-3)
        schedule = schedule_of(config, stage, budget_for(config, SHAPES["hubert"]), 0.0)
        assert schedule.gate_learning_rate == pytest.approx(rate, rel=0.02)


class TestSettings:
    def test_of_the_fixed_schedule_are_in_no_record_of_the_automatic(self) -> None:
        fixed, automatic = (SparsityConfig.model_validate({"schedule": name}) for name in ("fixed", "auto"))
        assert fixed.model_dump().keys() - automatic.model_dump().keys() == {
            "gate_learning_rate",
            "multiplier_learning_rate",
            "initial_quadratic_multiplier",
            "sparsity_warmup_updates",
        }
        assert SparsityConfig.model_validate(automatic.model_dump()) == automatic

    def test_another_schedule_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="'fixed' or 'auto'"):
            SparsityConfig.model_validate({"schedule": "automatic"})


def test_counting_what_hardening_leaves_does_not_change_the_gates_mode() -> None:
    config = SparsityConfig()
    gates = Gates(UpstreamModel(SHAPES["hubert"]), PAPER_UNITS)
    budget = budget_for(config, gates.shape)
    assert hardened_sparsity(gates, budget, config) == budget.reached(
        pruned_config(gates.shape, gates.hardened_masks())
    )
    assert all(module.training for module in gates.modules())
