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
from bench.upstream.cost import UNITS, count_dphubert_parameters, count_parameters, superb_macs
from bench.upstream.gates import Gates
from bench.upstream.pruning import prune, pruned_config
from compressors.dphubert.config import SparsityConfig
from compressors.dphubert.sparsity import Multipliers, expected_sparsity, final_masks, target_sparsity
from compressors.size.budget import budget_for
from compressors.size.pruning import largest_sparsity, require_reachable


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


def _macs(shape: UpstreamConfig) -> int:
    return superb_macs(shape).macs


class TestSchedule:
    def test_is_the_references(self, losses: Any) -> None:
        for name, points in losses["sparsity_schedule"].items():
            target, warmup = (part.split("=")[1] for part in name.split(","))
            for update, value in points.items():
                assert target_sparsity(float(target), int(update), int(warmup)) == pytest.approx(value, rel=1e-12), (
                    name,
                    update,
                )

    def test_without_warm_up_starts_at_the_target(self) -> None:
        assert target_sparsity(0.5, 0, 0) == 0.5


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
        sparsity = SparsityConfig(expected_size="reference")
        expected = expected_sparsity(gates, budget_for(sparsity, config), sparsity)
        assert expected.item() == pytest.approx(0.1018, abs=2e-4)

    @pytest.mark.parametrize(
        "budget", [{"sparsity": 0.5}, {"sparsity": 0.5, "target": "macs"}, {"params": "1M"}], ids=str
    )
    @pytest.mark.parametrize("architecture", ["hubert", "wavlm"])
    def test_expected_sparsity_of_certain_gates_is_that_of_the_pruned_model(
        self, architecture: Any, budget: dict[str, Any]
    ) -> None:
        config = uniform_config(architecture, 128, 12, 4, 512, conv_channels=64)
        sparsity = SparsityConfig.model_validate({"units": UNITS, **budget})
        gates = _trained_gates(config, UNITS, 0.0, 1.0)
        for parameter in gates.parameters():
            parameter.data = 60 * parameter.sign()
        pruned = pruned_config(config, gates.hardened_masks())
        expected = expected_sparsity(gates, budget_for(sparsity, config), sparsity)
        assert not all(layer.heads for layer in pruned.layers)
        assert expected.item() == pytest.approx(budget_for(sparsity, config).reached(pruned), abs=3e-6)

    def test_the_reference_leaves_wavlm_s_position_bias_out(self) -> None:
        """0.2 % of the mini shape's parameters: it takes a model for smaller than it will be."""
        config = uniform_config("wavlm", 128, 12, 4, 512, conv_channels=64)
        gates = _trained_gates(config, UNITS, 60.0, 0.0)
        expected = {}
        for size in ("whole", "reference"):
            sparsity = SparsityConfig.model_validate({"expected_size": size})
            expected[size] = expected_sparsity(gates, budget_for(sparsity, config), sparsity).item()
        assert expected["whole"] == pytest.approx(0, abs=1e-6)
        left_out = 320 * 4 + 12 * (33 * 8 + 4)
        assert expected["reference"] == pytest.approx(left_out / count_dphubert_parameters(config), rel=1e-3)


class TestReach:
    def test_largest_sparsity_leaves_one_channel_and_no_more(self) -> None:
        config = _mini_config()
        gates = _trained_gates(config, UNITS, -50.0, 0.1)
        masks = final_masks(gates, config, SparsityConfig.model_validate({"sparsity": 0.999, "units": UNITS}))
        smallest = pruned_config(config, masks)
        assert [layer.channels for layer in smallest.conv_layers] == [1] * 7
        assert all(not layer.heads and not layer.feed_forward for layer in smallest.layers)
        every = SparsityConfig.model_validate({"units": UNITS})
        budget = budget_for(every, config)
        assert largest_sparsity(config, budget, every) == pytest.approx(budget.reached(smallest), rel=1e-12)

    def test_rounded_widths_reach_less(self) -> None:
        shape = _mini_config()
        config = SparsityConfig(round_to=8, sparsity=0.999)
        masks = final_masks(_trained_gates(shape, config.units, -50.0, 0.1), shape, config)
        smallest = pruned_config(shape, masks)
        assert [layer.channels for layer in smallest.conv_layers] == [8] * 7
        budget = budget_for(config, shape)
        assert largest_sparsity(shape, budget, config) == pytest.approx(budget.reached(smallest), rel=1e-12)

    @pytest.mark.parametrize(("target", "quantity"), [("params", "parameters"), ("macs", "MACs")])
    def test_a_target_beyond_it_is_refused_with_the_largest(self, target: Any, quantity: str) -> None:
        config = _mini_config()
        heads = SparsityConfig(units=("head",), target=target)
        largest = largest_sparsity(config, budget_for(heads, config), heads)
        require_reachable(config, heads.model_copy(update={"sparsity": largest - 1e-6}))
        with pytest.raises(UserError, match=f"at most {largest:.4f} of this teacher's {quantity}. Found 0.75"):
            require_reachable(config, heads)

    def test_a_size_beyond_it_is_refused_with_the_smallest(self) -> None:
        config = _mini_config()
        heads = SparsityConfig.model_validate({"units": ("head",), "params": "900k"})
        smallest = pruned_config(config, {f"head/{index}": torch.zeros(4) for index in range(12)})
        with pytest.raises(UserError, match=f"at least {count_parameters(smallest)} parameters.*Found params=900000"):
            require_reachable(config, heads)

    @pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.1, 1.5])
    def test_a_target_outside_0_and_1_is_refused(self, sparsity: float) -> None:
        with pytest.raises(ValidationError):
            SparsityConfig(sparsity=sparsity)

    def test_unknown_units_are_refused(self) -> None:
        with pytest.raises(ValidationError):
            SparsityConfig.model_validate({"units": ["head", "neuron"]})


class TestFinalMasks:
    @pytest.mark.parametrize("units", [("conv", "head", "interm"), UNITS, ("interm", "attlayer"), ("head", "conv")])
    @pytest.mark.parametrize(
        "budget", [{"sparsity": 0.1}, {"sparsity": 0.29}, {"sparsity": 0.3, "target": "macs"}, {"params": "2M"}]
    )
    @pytest.mark.parametrize(("mean", "spread"), [(-1.0, 3.0), (4.0, 0.01), (-3.0, 1.0)])
    def test_meet_the_budget_within_1_percent_and_never_exceed_it(
        self, units: tuple[str, ...], budget: dict[str, Any], mean: float, spread: float
    ) -> None:
        shape = _mini_config()
        config = SparsityConfig.model_validate({"units": units, **budget})
        pruned = pruned_config(shape, final_masks(_trained_gates(shape, units, mean, spread), shape, config))
        wanted = budget_for(config, shape).wanted
        if config.params is None:
            count = _macs if config.target == "macs" else count_dphubert_parameters
            assert wanted == pytest.approx((1 - config.sparsity) * count(shape), abs=1)
        else:
            count = count_parameters
            assert wanted == 2_000_000
        assert 0.99 * wanted <= count(pruned) <= wanted

    @pytest.mark.parametrize(("mean", "spread"), [(-1.0, 3.0), (4.0, 0.01), (-3.0, 1.0)])
    @pytest.mark.parametrize("settings", [{"sparsity": 0.75}, {"sparsity": 0.5, "target": "macs"}, {"params": "600k"}])
    def test_widths_are_multiples_on_request(self, mean: float, spread: float, settings: dict[str, Any]) -> None:
        shape = _mini_config()
        config = SparsityConfig.model_validate({"round_to": 8, **settings})
        gates = _trained_gates(shape, config.units, mean, spread)
        masks = final_masks(gates, shape, config)
        pruned, budget = pruned_config(shape, masks), budget_for(config, shape)
        assert not [layer.channels for layer in pruned.conv_layers if layer.channels % 8]
        assert not [layer.feed_forward for layer in pruned.layers if layer.feed_forward % 8]
        assert 0.99 * budget.wanted <= budget.measure(pruned) <= budget.wanted
        for key, mask in masks.items():
            log_alpha = gates.get_parameter(f"{key}.log_alpha")
            if mask.any() and not mask.all():
                assert log_alpha[mask > 0].min() > log_alpha[mask == 0].max()

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
        reached = budget_for(SparsityConfig(), config).reached(pruned_config(config, expected))
        masks = final_masks(gates, config, SparsityConfig(sparsity=reached))
        for key, mask in expected.items():
            assert torch.equal(masks[key], mask), key

    def test_close_the_lowest_of_each_gate_and_keep_the_others_soft(self) -> None:
        config = _mini_config()
        gates = _trained_gates(config, ("interm",), 0.0, 2.0)
        masks = final_masks(gates, config, SparsityConfig(sparsity=0.4, units=("interm",)))
        for key, mask in masks.items():
            log_alpha = gates.get_parameter(f"{key}.log_alpha")
            assert log_alpha[mask > 0].min() > log_alpha[mask == 0].max()
            torch.testing.assert_close(mask[mask > 0], torch.sigmoid(log_alpha[mask > 0] * 1.2))

    @pytest.mark.parametrize("threshold", ["reference", "target"])
    def test_no_convolution_loses_its_last_channel(self, threshold: str) -> None:
        config = _mini_config()
        gates = _trained_gates(config, ("conv", "interm"), -9.0, 0.5)
        masks = final_masks(gates, config, SparsityConfig.model_validate({"sparsity": 0.5, "threshold": threshold}))
        assert min(layer.channels for layer in pruned_config(config, masks).conv_layers) >= 1
        states, _ = prune(UpstreamModel(config).eval(), masks)(torch.randn(1, 4000))
        assert all(state.isfinite().all() for state in states)
