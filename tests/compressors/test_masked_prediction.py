"""Masked prediction: the masks' statistics, the loss by another formula, what gradients reach, bf16."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torchaudio.models.wav2vec2.components import LogitGenerator

from bench.upstream import UpstreamModel
from bench.upstream.config import DropoutRates, uniform_config
from bench.upstream.random_shapes import SHAPES, random_model
from compressors.objectives.masked_prediction import MaskedPrediction, Target, UnitPredictor
from compressors.objectives.span_mask import span_mask
from compressors.prune_only.head_fitting import HeadFitting
from compressors.settings import MaskedPredictionConfig

NO_DROPOUT = DropoutRates(projection=0, attention=0, feed_forward=0, hidden=0)
SHAPE = uniform_config("hubert", 32, 3, 4, 48, conv_channels=16, positional_kernel=16, dropout=NO_DROPOUT)


class TestSpanMask:
    def test_hides_as_much_as_spans_at_random_starts_would(self) -> None:
        """With share p of starts and spans of n frames, a frame escapes with about (1 - p) ** n: HuBERT's 0.08, 10."""
        torch.manual_seed(0)
        mask = span_mask(400, 500, span=10, start_probability=0.08)
        expected = 1 - (1 - 0.08 * 500 / 491) ** 10
        assert mask[:, 50:-50].float().mean().item() == pytest.approx(expected, abs=0.01)

    def test_consists_of_whole_spans(self) -> None:
        torch.manual_seed(0)
        for mask in span_mask(50, 200, span=7, start_probability=0.03):
            edges = torch.diff(torch.cat([torch.zeros(1), mask.float(), torch.zeros(1)]))
            runs = torch.nonzero(edges == -1) - torch.nonzero(edges == 1)
            assert (runs >= 7).all()

    def test_every_utterance_has_its_own_and_the_number_of_spans_is_right_on_average(self) -> None:
        torch.manual_seed(0)
        masks = [span_mask(1, 101, span=1, start_probability=0.085) for _ in range(3000)]
        counts = torch.stack(masks).sum(-1).float()
        assert set(counts.flatten().tolist()) == {8.0, 9.0}
        assert counts.mean().item() == pytest.approx(0.085 * 101, abs=0.03)
        assert not span_mask(2, 500, span=10, start_probability=0.08).diff(dim=0).eq(0).all()

    def test_is_even_along_the_utterance_but_for_its_ends(self) -> None:
        torch.manual_seed(0)
        share = span_mask(4000, 60, span=5, start_probability=0.05).float().mean(0)
        assert share[5:-5].std() < 0.02
        assert share[0] < share[5]

    @pytest.mark.parametrize("num_frames", [1, 3, 10])
    def test_short_utterances_are_one_span_at_least(self, num_frames: int) -> None:
        mask = span_mask(4, num_frames, span=10, start_probability=0.001)
        assert mask.shape == (4, num_frames)
        assert mask.all()


def _objective(**settings: Any) -> MaskedPrediction:
    torch.manual_seed(0)
    config = MaskedPredictionConfig.model_validate({"projection_dim": 8, "mask_span_frames": 4} | settings)
    return MaskedPrediction(random_model(SHAPE).train(), [Target(2, 5, 0.5), Target(3, 7)], config)


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    waveforms = torch.randn(3, 16_000, generator=generator) * 0.1
    frames = SHAPE.num_frames(16_000)
    labels = torch.stack([torch.randint(0, units, (3, frames), generator=generator) for units in (5, 7)], dim=1)
    return waveforms, labels


class TestLoss:
    def test_logits_are_those_of_torchaudios_hubert(self) -> None:
        predictor = UnitPredictor(32, 7, 16)
        theirs = LogitGenerator(32, 7, 16, skip_masked=False, skip_nomask=True)
        with torch.no_grad():
            theirs.label_embeddings.copy_(predictor.embeddings)
            theirs.final_proj.load_state_dict(predictor.projection.state_dict())
        states = torch.randn(2, 11, 32)
        labels = torch.randint(0, 7, (2, 11))
        everywhere = torch.ones(2, 11, dtype=torch.bool)
        # Its first column is the true unit, which is minus infinity in the column of its own.
        expected, _ = theirs(states, labels, everywhere, ~everywhere)
        ours = predictor(states).flatten(0, 1)
        loss = F.cross_entropy(expected, torch.zeros(22, dtype=torch.long))
        assert F.cross_entropy(ours, labels.flatten()).item() == pytest.approx(loss.item(), rel=1e-5)

    @pytest.mark.parametrize("unmasked_weight", [0.0, 0.4])
    def test_is_the_mean_over_masked_frames_and_the_weighted_rest(self, unmasked_weight: float) -> None:
        objective = _objective(unmasked_loss_weight=unmasked_weight, feature_penalty_weight=3.0)
        waveforms, labels = _batch()
        torch.manual_seed(5)
        parts = objective(waveforms, labels, 0)
        torch.manual_seed(5)
        features, _ = objective.upstream.extract(waveforms)
        mask = objective.draw_mask(features)
        masked, unmasked = [0.0, 0.0], [0.0, 0.0]
        for index, scores in enumerate(objective.logits(features, mask)):
            probabilities = scores.softmax(-1)
            for row, frame in torch.cartesian_prod(torch.arange(3), torch.arange(mask.shape[1])).tolist():
                nats = -probabilities[row, frame, labels[row, index, frame]].log().item()
                (masked if mask[row, frame] else unmasked)[index] += nats
        masked_loss = (0.5 * masked[0] + masked[1]) / 1.5 / mask.sum().item()
        unmasked_loss = (0.5 * unmasked[0] + unmasked[1]) / 1.5 / (~mask).sum().item()
        penalty = features.square().mean().item()
        assert parts["masked_loss"].item() == pytest.approx(masked_loss, rel=1e-4)
        assert parts["unmasked_loss"].item() == pytest.approx(unmasked_loss, rel=1e-4)
        assert parts["loss"].item() == pytest.approx(
            masked_loss + unmasked_weight * unmasked_loss + 3 * penalty, rel=1e-4
        )

    def test_is_finite_where_every_frame_is_masked(self) -> None:
        objective = _objective(mask_span_frames=4, unmasked_loss_weight=0.4)
        waveforms = _batch()[0][:, : 400 + 2 * 320]
        parts = objective(waveforms, torch.zeros(3, 2, 3, dtype=torch.long), 0)
        assert parts["unmasked_loss"].item() == 0.0
        assert parts["loss"].isfinite()

    def test_the_masked_frames_are_not_heard(self) -> None:
        """Every state before the positional convolution is the mask embedding there, whatever is said."""
        objective = _objective()
        seen = []
        objective.upstream.positional_convolution.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        waveforms, _ = _batch()
        features, _ = objective.upstream.extract(waveforms)
        mask = objective.draw_mask(features)
        objective.logits(features, mask)
        objective.logits(features, None)
        hidden, heard = seen
        assert torch.equal(hidden[mask], objective.mask_embedding.expand(int(mask.sum()), -1))
        assert torch.equal(hidden[~mask], heard[~mask])

    def test_without_a_mask_the_states_are_the_upstreams(self) -> None:
        objective = _objective().eval()
        waveforms, _ = _batch()
        features, _ = objective.upstream.extract(waveforms)
        states, _ = objective.upstream(waveforms)
        for index, layer in enumerate((2, 3)):
            expected = objective.predictors[index](states[layer])
            assert torch.allclose(objective.logits(features, None)[index], expected, atol=1e-5)

    def test_the_extractors_gradient_is_scaled_and_no_others(self) -> None:
        gradients = []
        for scale in (1.0, 0.1):
            objective = _objective(extractor_gradient_scale=scale)
            torch.manual_seed(5)
            objective(*_batch(), 0)["loss"].backward()
            gradients.append({name: value.grad for name, value in objective.named_parameters()})
        for name, whole in gradients[0].items():
            factor = 0.1 if "feature_extractor" in name else 1.0
            assert torch.allclose(gradients[1][name], factor * whole, rtol=1e-3, atol=1e-7), name

    def test_neither_mask_embedding_nor_predictors_are_in_the_model(self) -> None:
        objective = _objective()
        assert objective.upstream.state_dict().keys() == UpstreamModel(SHAPE).state_dict().keys()
        assert len(list(objective.parameters())) == len(list(objective.upstream.parameters())) + 1 + 2 * 3


class TestHeadFitting:
    def test_the_head_learns_and_the_upstream_does_not(self) -> None:
        objective = _objective()
        before = {name: value.clone() for name, value in objective.state_dict().items()}
        fitting = HeadFitting(objective)
        assert not any(module.training for module in objective.upstream.modules())
        optimizer = torch.optim.AdamW(fitting.parameter_groups(0.1))
        for _ in range(3):
            loss: Any = fitting(*_batch(), 0)["loss"]
            loss.backward()
            optimizer.step()
        for name, value in objective.state_dict().items():
            assert value.equal(before[name]) == name.startswith("upstream."), name
        assert all(value.grad is None for value in objective.upstream.parameters())
        fitting.release()
        assert all(module.training for module in objective.upstream.modules())
        assert all(value.requires_grad for value in objective.parameters())


class TestLowPrecision:
    @pytest.mark.parametrize("kernel", [15, 16, 32, 128])
    @pytest.mark.parametrize("dim", [64, 128, 768])
    def test_the_positional_convolution_in_bf16_is_that_in_fp32(self, kernel: int, dim: int) -> None:
        shape = uniform_config("hubert", dim, 0, 4, 4, conv_channels=8, positional_kernel=kernel)
        convolution = random_model(shape).positional_convolution
        self._compare(convolution, torch.randn(2, 200, dim))

    @pytest.mark.parametrize("name", ["mini-hubert", "hubert_base", "hubert_large"])
    def test_every_convolution_of_the_extractor_in_bf16_is_that_in_fp32(self, name: str) -> None:
        config = SHAPES[name].model_copy(update={"layers": ()})
        hidden = torch.randn(2, 1, 4000)
        for layer in random_model(config).feature_extractor.conv_layers:
            self._compare(layer.conv, hidden)
            hidden = layer(hidden)

    @torch.no_grad()
    def _compare(self, module: torch.nn.Module, inputs: torch.Tensor) -> None:
        exact = module(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            found = module(inputs)
        assert ((found.float() - exact).norm() / exact.norm()).item() < 0.02
