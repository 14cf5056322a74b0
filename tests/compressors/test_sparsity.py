"""The sparsity schedule and regulariser against the reference's values; masks of the size wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from bench.errors import UserError
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import uniform_config
from bench.upstream.cost import UNITS, count_dphubert_parameters
from bench.upstream.gates import Gates
from bench.upstream.pruning import prune, pruned_config
from compressors.sparsity import (
    Multipliers,
    SparsityConfig,
    expected_sparsity,
    final_masks,
    largest_sparsity,
    reached_sparsity,
    require_reachable,
    target_sparsity,
)


@pytest.fixture(scope="module")
def losses(reference: Path) -> Any:
    return json.loads((reference / "losses.json").read_text())


def _mini_config() -> UpstreamConfig:
    return uniform_config("hubert", 128, 12, 4, 512, conv_channels=64)


def _trained_gates(config: UpstreamConfig, units: tuple[str, ...], mean: float, spread: float) -> Gates:
    """Gates as after training: log_alpha spread about a mean that is the same for all."""
    torch.manual_seed(0)
    gates = Gates(UpstreamModel(config), units)
    for parameter in gates.parameters():
        torch.nn.init.normal_(parameter, mean, spread)
    return gates


class TestSchedule:
    def test_is_the_references(self, losses: Any) -> None:
        for name, points in losses["sparsity_schedule"].items():
            target, warmup = (part.split("=")[1] for part in name.split(","))
            config = SparsityConfig(sparsity=float(target), sparsity_warmup_updates=int(warmup))
            for update, value in points.items():
                assert target_sparsity(config, int(update)) == pytest.approx(value, rel=1e-12), (name, update)

    def test_without_warm_up_starts_at_the_target(self) -> None:
        assert target_sparsity(SparsityConfig(sparsity=0.5, sparsity_warmup_updates=0), 0) == 0.5


class TestRegulariser:
    def test_values_and_gradients_are_the_references(self, losses: Any) -> None:
        assert len(losses["regulariser"]) == 96
        for case in losses["regulariser"]:
            multipliers = Multipliers()
            torch.nn.init.constant_(multipliers.linear, case["lambda1"])
            torch.nn.init.constant_(multipliers.quadratic, case["lambda2"])
            expected_parameters = torch.tensor(case["expected_params"], requires_grad=True)
            expected = 1 - expected_parameters / case["teacher_params"]
            penalty = multipliers(expected, case["target_sparsity_now"])
            penalty.backward()
            assert penalty.item() == pytest.approx(case["loss_reg"], rel=1e-5, abs=1e-7)
            for value, key in (
                (multipliers.linear.grad, "grad_lambda1"),
                (multipliers.quadratic.grad, "grad_lambda2"),
                (expected_parameters.grad, "grad_expected_params"),
            ):
                assert value is not None
                assert value.item() == pytest.approx(case[key], rel=1e-5, abs=1e-7), case

    def test_expected_sparsity_of_new_gates_is_not_zero(self) -> None:
        """HuBERT Base with the recipe's units starts at 0.1018: the feed-forward units' gates are half closed."""
        config = uniform_config("hubert", 768, 12, 12, 3072)
        with torch.device("meta"):
            model = UpstreamModel(config)
        torch.manual_seed(0)
        gates = Gates(model, ("conv", "head", "interm"))
        assert expected_sparsity(gates, count_dphubert_parameters(config)).item() == pytest.approx(0.1018, abs=2e-4)


class TestReach:
    def test_largest_sparsity_leaves_one_channel_and_no_more(self) -> None:
        config = _mini_config()
        gates = _trained_gates(config, UNITS, -50.0, 0.1)
        masks = final_masks(gates, config, SparsityConfig(sparsity=0.999, units=UNITS))
        smallest = pruned_config(config, masks)
        assert [layer.channels for layer in smallest.conv_layers] == [1] * 7
        assert all(not layer.heads and not layer.feed_forward for layer in smallest.layers)
        assert largest_sparsity(config, UNITS) == pytest.approx(
            reached_sparsity(smallest, count_dphubert_parameters(config)), rel=1e-12
        )

    def test_a_target_beyond_it_is_refused_with_the_largest(self) -> None:
        config = _mini_config()
        largest = largest_sparsity(config, ("head",))
        assert 0.2 < largest < 0.4
        require_reachable(config, SparsityConfig(sparsity=largest - 1e-6, units=("head",)))
        with pytest.raises(UserError, match=f"at most {largest:.4f}"):
            require_reachable(config, SparsityConfig(sparsity=0.75, units=("head",)))

    @pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.1, 1.5])
    def test_a_target_outside_0_and_1_is_refused(self, sparsity: float) -> None:
        with pytest.raises(ValidationError):
            SparsityConfig(sparsity=sparsity)

    def test_unknown_units_are_refused(self) -> None:
        with pytest.raises(ValidationError):
            SparsityConfig.model_validate({"units": ["head", "neuron"]})


class TestFinalMasks:
    @pytest.mark.parametrize("units", [("conv", "head", "interm"), UNITS, ("interm", "attlayer"), ("head", "conv")])
    @pytest.mark.parametrize("sparsity", [0.1, 0.3])
    @pytest.mark.parametrize(("mean", "spread"), [(-1.0, 3.0), (4.0, 0.01), (-3.0, 1.0)])
    def test_meet_the_target_size_within_1_percent(
        self, units: tuple[str, ...], sparsity: float, mean: float, spread: float
    ) -> None:
        config = _mini_config()
        original = count_dphubert_parameters(config)
        masks = final_masks(
            _trained_gates(config, units, mean, spread),
            config,
            SparsityConfig.model_validate({"sparsity": sparsity, "units": units}),
        )
        size = count_dphubert_parameters(pruned_config(config, masks))
        assert size == pytest.approx((1 - sparsity) * original, rel=0.01)

    def test_follow_the_reference_rule_on_request(self) -> None:
        config = _mini_config()
        gates = _trained_gates(config, ("conv", "head", "interm"), -0.5, 3.0)
        masks = final_masks(gates, config, SparsityConfig(threshold="reference"))
        for key, mask in gates.hardened_masks().items():
            assert torch.equal(masks[key], mask)

    def test_change_nothing_where_the_gates_meet_the_target_already(self) -> None:
        config = _mini_config()
        gates = _trained_gates(config, ("conv", "head", "interm"), -0.5, 3.0)
        expected = gates.hardened_masks()
        reached = reached_sparsity(pruned_config(config, expected), count_dphubert_parameters(config))
        masks = final_masks(gates, config, SparsityConfig(sparsity=reached))
        for key, mask in expected.items():
            assert torch.equal(masks[key], mask), key

    def test_close_the_lowest_of_each_gate_and_keep_the_others_soft(self) -> None:
        config = _mini_config()
        gates = _trained_gates(config, ("interm",), 0.0, 2.0)
        masks = final_masks(gates, config, SparsityConfig(sparsity=0.4, units=("interm",)))
        for key, mask in masks.items():
            log_alpha = gates.get_submodule(key).log_alpha
            assert log_alpha[mask > 0].min() > log_alpha[mask == 0].max()  # type: ignore[operator]
            torch.testing.assert_close(mask[mask > 0], torch.sigmoid(log_alpha[mask > 0] * 1.2))  # type: ignore[operator]

    @pytest.mark.parametrize("threshold", ["reference", "target"])
    def test_no_convolution_loses_its_last_channel(self, threshold: str) -> None:
        config = _mini_config()
        gates = _trained_gates(config, ("conv", "interm"), -9.0, 0.5)
        masks = final_masks(gates, config, SparsityConfig.model_validate({"sparsity": 0.5, "threshold": threshold}))
        assert min(layer.channels for layer in pruned_config(config, masks).conv_layers) >= 1
        states, _ = prune(UpstreamModel(config).eval(), masks)(torch.randn(1, 4000))
        assert all(state.isfinite().all() for state in states)
