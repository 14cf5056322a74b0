"""Importances against their definitions, and masks that keep what is most important within a budget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import uniform_config
from bench.upstream.cost import UNITS, count_dphubert_parameters, kept_units, superb_macs
from bench.upstream.pruning import prune, pruned_config
from bench.upstream.random_shapes import random_model
from compressors.objectives.masked_prediction import MaskedPrediction, Target
from compressors.prune_only.allocation import uniform_masks
from compressors.prune_only.clustering import cluster_scores
from compressors.prune_only.importance import magnitude_scores, random_scores, taylor_scores
from compressors.settings import MaskedPredictionConfig, PruningConfig
from compressors.size.budget import budget_for
from compressors.training.kept_tensors import Snapshots
from compressors.units.batches import UnitBatch

SHAPE = uniform_config("hubert", 32, 2, 4, 48, conv_channels=8, positional_kernel=16)
LARGE = uniform_config("wavlm", 32, 2, 4, 48, conv_channels=8, positional_kernel=16, large=True)


def _objective(shape: UpstreamConfig, gradient_scale: float = 1.0) -> MaskedPrediction:
    torch.manual_seed(0)
    config = MaskedPredictionConfig(projection_dim=8, extractor_gradient_scale=gradient_scale)
    return MaskedPrediction(random_model(shape).train(), [Target(2, 7)], config)


def _batches(shape: UpstreamConfig) -> list[UnitBatch]:
    generator = torch.Generator().manual_seed(1)
    frames = shape.num_frames(8000)
    return [
        UnitBatch(
            number,
            torch.randn(2, 8000, generator=generator) * 0.1,
            torch.randint(0, 7, (2, 1, frames), generator=generator),
        )
        for number in range(2)
    ]


def _gated(model: UpstreamModel) -> Iterator[tuple[str, Tensor]]:
    """Put a factor of 1 on each unit, by hooks, where only what reads the unit sees it."""

    def factor(count: int) -> Tensor:
        return torch.ones(count, requires_grad=True)

    def on_input(module: nn.Module, gate: Tensor, repeats: int = 1) -> Tensor:
        module.register_forward_pre_hook(lambda _, inputs: (inputs[0] * gate.repeat_interleave(repeats),))
        return gate

    def on_channels(module: nn.Module, gate: Tensor) -> Tensor:
        module.register_forward_pre_hook(lambda _, inputs: (inputs[0] * gate[:, None],))
        return gate

    def on_output(module: nn.Module, gate: Tensor) -> Tensor:
        module.register_forward_hook(lambda _, __, output: output * gate)
        return gate

    units = kept_units(model.config)
    modules: Any = model
    readers = list(modules.feature_extractor.conv_layers[1:])
    for index, reader in enumerate(readers):
        yield f"conv/{index}", on_channels(reader.conv, factor(units["conv"][index]))
    yield f"conv/{len(readers)}", on_input(modules.feature_projection.projection, factor(units["conv"][-1]))
    for index, layer in enumerate(modules.layers):
        yield f"attlayer/{index}", on_output(layer.attention, factor(1))
        yield f"head/{index}", on_input(layer.attention.out_proj, factor(units["head"][index]), model.config.head_dim)
        yield f"ffnlayer/{index}", on_output(layer.feed_forward, factor(1))
        yield f"interm/{index}", on_input(layer.feed_forward.output_dense, factor(units["interm"][index]))


class _EndingAt(list[Any]):
    """Batches that fail at one number, and before ``first``: those are not to be computed again."""

    def __init__(self, batches: list[Any], end: int | None, first: int = 0) -> None:
        super().__init__(batches)
        self.end, self.first = end, first

    def __getitem__(self, index: Any) -> Any:
        if index == self.end or index < self.first:
            raise KeyError(index)
        return super().__getitem__(index)


class TestTaylor:
    @pytest.mark.parametrize("shape", [SHAPE, LARGE], ids=["hubert", "wavlm large"])
    def test_is_the_derivative_of_the_loss_by_a_gate_on_the_unit(self, shape: UpstreamConfig) -> None:
        objective, batches = _objective(shape), _batches(shape)
        found = taylor_scores(objective, list(batches), UNITS, device="cpu", seed=3)
        assert objective.training
        objective.eval()
        gates = dict(_gated(objective.upstream))
        assert gates.keys() == found.keys()
        squares = {key: torch.zeros(len(gate)) for key, gate in gates.items()}
        torch.manual_seed(3)
        for batch in batches:
            loss: Any = objective(batch.waveforms, batch.labels, 0)["masked_loss"]
            for key, slope in zip(gates, torch.autograd.grad(loss, list(gates.values())), strict=True):
                squares[key] += slope.square()
        for key, score in found.items():
            assert score.abs().max() > 0
            torch.testing.assert_close(score, squares[key].sqrt(), rtol=2e-3, atol=1e-6, msg=key)

    @pytest.mark.parametrize("scale", [0.1, 0.0])
    def test_the_scale_of_the_extractor_s_gradient_is_for_training_alone(self, scale: float) -> None:
        objective, whole = _objective(SHAPE, scale), _objective(SHAPE)
        found, expected = (
            taylor_scores(each, _batches(SHAPE), UNITS, device="cpu", seed=3) for each in (objective, whole)
        )
        for key, scores in expected.items():
            torch.testing.assert_close(found[key], scores, msg=key)
        assert objective.config.extractor_gradient_scale == scale

    def test_interrupted_after_any_batch_they_are_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("compressors.training.kept_tensors.SECONDS_BETWEEN_SNAPSHOTS", 0.0)
        objective, batches = _objective(SHAPE), _batches(SHAPE) * 2
        whole = taylor_scores(objective, batches, UNITS, device="cpu", seed=3)
        path = tmp_path / "importances.safetensors"
        for number in range(len(batches)):
            with pytest.raises(KeyError):
                taylor_scores(
                    objective, _EndingAt(batches, number), UNITS, device="cpu", seed=3, snapshots=Snapshots(path)
                )
            torch.manual_seed(99)
        found = taylor_scores(
            objective, _EndingAt(batches, None, number), UNITS, device="cpu", seed=3, snapshots=Snapshots(path)
        )
        for key, scores in whole.items():
            assert torch.equal(found[key], scores), key

    def test_predicts_what_removing_a_unit_does(self) -> None:
        """Of a unit of little effect, to the first order: the loss without it."""
        objective, (batch, _) = _objective(SHAPE), _batches(SHAPE)
        dense: Any = objective.upstream.layers[1].feed_forward.output_dense  # type: ignore[union-attr]
        with torch.no_grad():
            dense.weight[:, 5] *= 0.05
        score = taylor_scores(objective, [batch], ["interm"], device="cpu", seed=3)["interm/1"][5]
        losses = []
        objective.eval()
        for factor in (1.0, 0.0):
            with torch.no_grad():
                dense.weight[:, 5] *= factor
                torch.manual_seed(3)
                losses.append(float(objective(batch.waveforms, batch.labels, 0)["masked_loss"]))
        assert score.item() == pytest.approx(abs(losses[1] - losses[0]), rel=0.1)


class TestMagnitude:
    @pytest.mark.parametrize("norm", ["l1", "l2"])
    def test_is_the_mean_over_the_weights_that_go_with_the_unit(self, norm: Any) -> None:
        model = random_model(SHAPE)
        weights = {name: value.detach() for name, value in model.named_parameters()}
        scores = magnitude_scores(model, UNITS, norm)  # type: ignore[arg-type]

        def size(*parts: Tensor) -> float:
            entries = torch.cat([part.flatten() for part in parts])
            return float(entries.abs().mean() if norm == "l1" else entries.square().mean().sqrt())

        attention, feed_forward = "layers.1.attention.", "layers.1.feed_forward."
        rows = [weights[f"{attention}{name}_proj.weight"] for name in "qkv"]
        out = weights[f"{attention}out_proj.weight"]
        inner, outer = (weights[f"{feed_forward}{name}_dense.weight"] for name in ("intermediate", "output"))
        for head in range(4):
            place = slice(8 * head, 8 * head + 8)
            assert scores["head/1"][head].item() == pytest.approx(size(*(row[place] for row in rows), out[:, place]))
        for unit in range(48):
            assert scores["interm/1"][unit].item() == pytest.approx(size(inner[unit], outer[:, unit]))
        assert scores["attlayer/1"].item() == pytest.approx(size(*rows, out, weights[f"{attention}out_proj.bias"]))
        assert scores["ffnlayer/1"].item() == pytest.approx(
            size(inner, outer, weights[f"{feed_forward}output_dense.bias"])
        )
        convolutions = [weights[f"feature_extractor.conv_layers.{index}.conv.weight"] for index in range(7)]
        projection = weights["feature_projection.projection.weight"]
        for channel in range(8):
            assert scores["conv/2"][channel].item() == pytest.approx(
                size(convolutions[2][channel], convolutions[3][:, channel])
            )
            assert scores["conv/6"][channel].item() == pytest.approx(
                size(convolutions[6][channel], projection[:, channel])
            )


class TestClusters:
    @staticmethod
    def _with_copies(noise: float) -> UpstreamModel:
        """Make a model in which units 0 to 7 of each feed-forward block recur as units 8 to 15, and so on."""
        model = random_model(SHAPE)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for block in (f"layers.{index}.feed_forward." for index in range(2)):
                inner = model.get_parameter(f"{block}intermediate_dense.weight")
                outer = model.get_parameter(f"{block}output_dense.weight").T
                for weight in (inner, outer):
                    copies = weight[:8].repeat(6, 1)
                    weight.copy_(copies + noise * torch.randn(copies.shape, generator=generator))
        return model

    @pytest.mark.parametrize("noise", [0.0, 1e-3])
    def test_keep_one_of_each_group_of_similar_units(self, noise: float) -> None:
        for key, scores in cluster_scores(self._with_copies(noise), ["interm"]).items():
            kept = scores.topk(8).indices
            assert sorted((kept % 8).tolist()) == list(range(8)), key
            assert scores[kept].min() > 20 * scores.sort().values[:40].max()

    def test_the_unit_nearest_to_its_group_s_mean_stays(self) -> None:
        model = random_model(SHAPE)
        weight: Tensor = model.get_parameter("layers.1.feed_forward.intermediate_dense.weight")
        with torch.no_grad():
            model.get_parameter("layers.1.feed_forward.output_dense.weight").zero_()
            weight[:3] = torch.tensor([[1.0], [2.0], [2.5]])
            weight[3:] = 100 + 50 * torch.eye(45, 32)
        scores = cluster_scores(model, ["interm"])["interm/1"]
        assert scores[1] > max(scores[0], scores[2])

    def test_score_every_unit_and_grow_with_the_weights(self) -> None:
        model = random_model(LARGE)
        scores = cluster_scores(model, ["conv", "head", "interm"])
        assert {key: len(each) for key, each in scores.items()} == {
            key: len(each) for key, each in random_scores(LARGE, ["conv", "head", "interm"], 0).items()
        }
        assert all(each.isfinite().all() and (each > 0).all() for each in scores.values())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)
        for key, each in cluster_scores(model, ["conv", "head", "interm"]).items():
            torch.testing.assert_close(each, 2 * scores[key])

    def test_of_a_single_unit_is_the_size_of_its_weights(self) -> None:
        model = prune(random_model(SHAPE), {"head/0": torch.tensor([0.0, 1.0, 0.0, 0.0])})
        assert cluster_scores(model, ["head"])["head/0"].equal(magnitude_scores(model, ["head"], "l2")["head/0"])


class TestRandom:
    def test_depends_on_the_seed_alone(self) -> None:
        one, same, other = (random_scores(SHAPE, ("head", "interm"), seed) for seed in (1, 1, 2))
        assert {key: len(score) for key, score in one.items()} == {
            "head/0": 4,
            "head/1": 4,
            "interm/0": 48,
            "interm/1": 48,
        }
        assert all(one[key].equal(same[key]) and not one[key].equal(other[key]) for key in one)


def _masks(shape: UpstreamConfig, **settings: Any) -> tuple[PruningConfig, dict[str, Tensor], dict[str, Tensor]]:
    config = PruningConfig.model_validate(settings)
    scores = dict(random_scores(shape, config.units, 0))
    return config, scores, uniform_masks(scores, shape, budget_for(config, shape), config)


class TestMasks:
    MINI = uniform_config("hubert", 128, 12, 4, 512, conv_channels=48)

    @pytest.mark.parametrize("units", [("conv", "head", "interm"), UNITS], ids=len)
    @pytest.mark.parametrize("target", ["params", "macs"])
    @pytest.mark.parametrize("sparsity", [0.25, 0.75, 0.9])
    def test_meet_the_budget_within_1_percent_and_never_exceed_it(
        self, units: tuple[str, ...], target: str, sparsity: float
    ) -> None:
        config, _, masks = _masks(self.MINI, units=units, target=target, sparsity=sparsity)
        model = prune(random_model(self.MINI), masks)
        count = count_dphubert_parameters if target == "params" else lambda shape: superb_macs(shape).macs
        wanted = (1 - config.sparsity) * count(self.MINI)
        assert 0.99 * wanted <= count(model.config) <= wanted + 1

    @pytest.mark.parametrize("target", ["params", "macs"])
    @pytest.mark.parametrize("sparsity", [0.25, 0.75, 0.9])
    def test_widths_are_multiples_on_request_and_the_budget_is_met(self, target: str, sparsity: float) -> None:
        config, scores, masks = _masks(
            self.MINI, units=["conv", "head", "interm"], target=target, sparsity=sparsity, round_to=8
        )
        kept = kept_units(pruned_config(self.MINI, masks))
        assert not [width for width in kept["conv"] + kept["interm"] if width % 8]
        assert min(kept["conv"]) >= 8
        budget = budget_for(config, self.MINI)
        size = budget.measure(pruned_config(self.MINI, masks))
        assert 0.99 * budget.wanted <= size <= budget.wanted
        for key, mask in masks.items():
            if mask.any() and not mask.all():
                assert scores[key][mask].min() > scores[key][~mask].max()

    def test_layers_of_fewer_units_than_a_multiple_stay_whole_or_go(self) -> None:
        _, _, masks = _masks(SHAPE, units=["conv", "interm"], sparsity=0.5, round_to=32)
        kept = kept_units(pruned_config(SHAPE, masks))
        assert kept["conv"] == [8] * 7
        assert set(kept["interm"]) <= {0, 32, 48}

    def test_keep_the_same_share_of_every_kind(self) -> None:
        _, _, masks = _masks(self.MINI, units=["conv", "head", "interm"], sparsity=0.6)
        shares = {
            unit: torch.cat([mask for key, mask in masks.items() if key.startswith(unit)]).float().mean().item()
            for unit in ("conv", "head", "interm")
        }
        assert max(shares.values()) - min(shares.values()) < 0.03, shares

    def test_keep_the_most_important_relative_to_their_layer(self) -> None:
        _, scores, masks = _masks(self.MINI, units=["interm"], sparsity=0.4)
        relative = {key: score / score.mean() for key, score in scores.items()}
        kept = min(relative[key][mask].min() for key, mask in masks.items())
        lost = max(relative[key][~mask].max() for key, mask in masks.items())
        assert kept > lost

    def test_no_layer_goes_for_its_scale(self) -> None:
        config = PruningConfig(units=("conv", "head", "interm"), sparsity=0.6)
        scores = dict(random_scores(self.MINI, config.units, 0))
        budget = budget_for(config, self.MINI)
        expected = uniform_masks(scores, self.MINI, budget, config)
        for key in ("conv/3", "head/5", "interm/5"):
            scores[key] = scores[key] * 1e-6
        found = uniform_masks(scores, self.MINI, budget, config)
        assert all(found[key].equal(mask) for key, mask in expected.items())

    def test_the_least_important_blocks_go(self) -> None:
        config = PruningConfig(units=("attlayer",), sparsity=0.1)
        scores = {f"attlayer/{index}": torch.tensor([float((5 * index) % 12)]) for index in range(12)}
        masks = uniform_masks(scores, self.MINI, budget_for(config, self.MINI), config)
        gone = {float(scores[key]) for key, mask in masks.items() if not mask}
        assert gone == set(range(len(gone)))
        assert 0 < len(gone) < 12

    def test_every_convolution_keeps_its_best_channel(self) -> None:
        config = PruningConfig(units=("conv",), sparsity=0.035)
        scores = {f"conv/{index}": torch.ones(48) for index in range(7)}
        scores["conv/4"][:] = 0
        scores["conv/4"][17] = 1e-9
        scores["conv/2"][:40] = 1e-9
        masks = uniform_masks(scores, self.MINI, budget_for(config, self.MINI), config)
        assert masks["conv/4"][17]
        assert min(layer.channels for layer in pruned_config(self.MINI, masks).conv_layers) >= 1

    def test_a_budget_that_is_met_already_changes_nothing(self) -> None:
        config = PruningConfig(sparsity=0.5)
        scores = random_scores(SHAPE, config.units, 0)
        budget = budget_for(config, self.MINI)
        assert all(mask.all() for mask in uniform_masks(scores, SHAPE, budget, config).values())
