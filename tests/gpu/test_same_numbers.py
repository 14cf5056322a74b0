"""The device computes what the CPU does.

In float64 no GPU takes short cuts, so both must agree closely. In float32, convolutions and training use TF32, whose
products have a relative error of 1e-3.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.audio.files import AudioFile, read_headers
from bench.contracts import Context
from bench.testing import TEACHER_SHAPES, tiny_teacher
from bench.upstream import UpstreamModel, load_upstream
from bench.upstream.fbank import FbankUpstream
from bench.upstream.reduced_linears import Int8Linear, quantised_weight
from bench.upstream.reduction import quantised
from compressors.dphubert.config import SMOKE
from compressors.dphubert.joint_stage import JointDistillationPruning
from compressors.low_rank.factors import factors_of, second_moments, whitening_of
from compressors.objectives.masked_prediction import MaskedPrediction, Target
from compressors.training.loop import StageModule
from compressors.training.objective import Objective
from compressors.training.precision import optimizer_options
from compressors.units.clusters import nearest_units
from compressors.units.frame_features import HiddenFeatures
from tasks.bridge.frozen_upstream import FrozenUpstream
from tasks.feature_cache.upstream import hidden_states_of

pytestmark = pytest.mark.gpu

TF32_ERROR = 0.02
"""Largest norm of a difference in float32, relative to the norm of the values."""
NO_DROPOUT = SMOKE.dropout.model_copy(update=dict.fromkeys(type(SMOKE.dropout).model_fields, 0.0))
LENGTHS = torch.tensor([16_000, 12_345, 5_000])


def speech_like(*size: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def relative_error(found: Tensor, expected: Tensor) -> float:
    found = found.detach().cpu().double()
    assert found.isfinite().all()
    return float((found - expected.detach().double()).norm() / expected.detach().double().norm())


def padded() -> Tensor:
    waveforms = speech_like(3, 16_000)
    for row, length in zip(waveforms, LENGTHS.tolist(), strict=True):
        row[length:] = 0
    return waveforms


@pytest.fixture(scope="module", params=["mini-hubert", *TEACHER_SHAPES])
def model(request: pytest.FixtureRequest) -> UpstreamModel:
    if request.param == "mini-hubert":
        loaded = load_upstream(request.param)
        assert isinstance(loaded, UpstreamModel)
        return loaded
    return tiny_teacher(request.param)


@pytest.fixture
def files(speech_folder: Any) -> list[AudioFile]:
    return list(read_headers(sorted(speech_folder.glob("*.wav"))))


class TestHiddenStates:
    @torch.inference_mode()
    @pytest.mark.parametrize("lengths_on", ["cpu", "device"])
    def test_in_float64(self, model: UpstreamModel, lengths_on: str, device: str) -> None:
        here = copy.deepcopy(model).double()
        there = copy.deepcopy(here).to(device)
        expected, expected_lengths = here(padded().double(), LENGTHS)
        lengths = LENGTHS.to(device) if lengths_on == "device" else LENGTHS
        found, frame_lengths = there(padded().double().to(device), lengths)
        assert frame_lengths.tolist() == expected_lengths.tolist()
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.device.type == device
            for row, count in enumerate(expected_lengths.tolist()):
                torch.testing.assert_close(ours[row, :count].cpu(), theirs[row, :count], rtol=1e-6, atol=1e-6)

    @torch.inference_mode()
    def test_in_float32(self, model: UpstreamModel, device: str) -> None:
        expected, _ = model(speech_like(2, 16_000))
        found, _ = copy.deepcopy(model).to(device)(speech_like(2, 16_000).to(device))
        assert max(map(relative_error, found, expected)) < TF32_ERROR

    @torch.inference_mode()
    def test_filter_banks(self, device: str) -> None:
        expected, _ = FbankUpstream()(padded(), LENGTHS)
        found, _ = FbankUpstream().to(device)(padded().to(device), LENGTHS.to(device))
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize(("precision", "largest"), [("fp32", TF32_ERROR), ("bf16", 0.1), ("fp16", 0.03)])
    def test_features_of_a_batch(self, precision: Any, largest: float, device: str) -> None:
        model = load_upstream("mini-hubert")
        waveforms = speech_like(4, 16_000)
        expected = hidden_states_of(FrozenUpstream(model).eval(), "cpu", "fp32")(waveforms)
        upstream = FrozenUpstream(copy.deepcopy(model).to(device)).eval()
        found = hidden_states_of(upstream, device, precision)(waveforms)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == torch.float32
            assert relative_error(ours, theirs) < largest


def distilling(device: str) -> JointDistillationPruning:
    """Stage 1 with nothing random and a smooth loss, and a student that differs from its teacher."""
    torch.manual_seed(0)
    config = SMOKE.model_copy(update={"dropout": NO_DROPOUT, "l1_weight": 0.0, "l2_weight": 1.0})
    objective = JointDistillationPruning(tiny_teacher(), config, device)
    objective.distillation.student.load_state_dict(tiny_teacher(seed=1).state_dict())
    objective.train()
    objective.gates.eval()
    return objective


def predicting(_device: str) -> MaskedPrediction:
    torch.manual_seed(0)
    return MaskedPrediction(tiny_teacher(), [Target(2, 8), Target(3, 12, 0.5)], SMOKE)


def gradients(objective: Objective, inputs: list[Tensor], device: str) -> tuple[dict[str, float], Tensor]:
    torch.manual_seed(3)
    objective.to(device)
    parts = objective(*(each.to(device) for each in inputs), 0)
    parts["loss"].backward()
    found = [p.grad.flatten().cpu() for p in objective.parameters() if p.grad is not None]
    return {key: float(torch.as_tensor(value).detach()) for key, value in parts.items()}, torch.cat(found)


class TestTraining:
    @pytest.mark.parametrize("make", [distilling, predicting])
    def test_one_step(self, make: Any, device: str) -> None:
        num_frames = tiny_teacher().config.num_frames(16_000)
        labels = torch.randint(8, (2, 2, num_frames), generator=torch.Generator().manual_seed(0))
        inputs = [speech_like(2, 16_000), *([labels] if make is predicting else [])]
        expected, expected_gradients = gradients(make("cpu"), inputs, "cpu")
        found, found_gradients = gradients(make(device), inputs, device)
        counted = {key for key in expected if "accuracy" in key}
        for key in expected.keys() - counted:
            assert found[key] == pytest.approx(expected[key], rel=TF32_ERROR, abs=1e-4), key
        assert relative_error(found_gradients, expected_gradients) < 2 * TF32_ERROR

    @pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
    def test_the_optimizer_changes_weights_as_the_plain_one_does(self, precision: str, device: str) -> None:
        weights = {}
        for name, options in (
            ("plain", {}),
            ("ours", optimizer_options(torch.device(device), precision)),
        ):
            torch.manual_seed(0)
            layer = nn.Linear(64, 64).to(device)
            optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01, weight_decay=0.01, **options)
            for seed in range(3):
                for parameter in layer.parameters():
                    parameter.grad = speech_like(*parameter.shape, seed=seed).to(device)
                optimizer.step()
            weights[name] = layer.weight.detach().cpu()
        torch.testing.assert_close(weights["ours"], weights["plain"], rtol=1e-4, atol=1e-6)

    @pytest.mark.usefixtures("gpu")
    def test_stages_use_the_fused_optimizer(self, device: str) -> None:
        module = StageModule(distilling(device), SMOKE.joint, 0).to(device)
        assert module.device.type == "cuda"
        assert module.configure_optimizers()["optimizer"].defaults["fused"]


class TestInt8:
    def test_a_layer(self, device: str) -> None:
        layer = Int8Linear(300, 48, bias=True)
        weight, scale = quantised_weight(speech_like(48, 300) * torch.logspace(-3, 1, 48)[:, None])
        layer.load_state_dict({"weight": weight, "scale": scale, "bias": torch.arange(48.0)})
        inputs = 10 * speech_like(2, 7, 300)
        expected = layer(inputs)
        for precision in ("highest", "high"):
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision(precision)
            try:
                found = copy.deepcopy(layer).to(device)(inputs.to(device))
            finally:
                torch.set_float32_matmul_precision(before)
            # Integers and their products are exact in TF32, too.
            torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)

    @torch.inference_mode()
    def test_a_model(self, device: str) -> None:
        dense = load_upstream("mini-hubert")
        assert isinstance(dense, UpstreamModel)
        model = quantised(dense, list(dense.config.linear_sizes)).eval()
        waveforms = speech_like(1, 16_000)
        exact, expected = dense(waveforms)[0], model(waveforms)[0]
        found = model.to(device)(waveforms.to(device))[0]
        for ours, theirs, original in zip(found, expected, exact, strict=True):
            # An input at the border of two integers may be rounded the other way.
            assert (ours.cpu() - theirs).norm() < (theirs - original).norm() + TF32_ERROR * original.norm()


class TestUnits:
    def test_the_nearest_units_are_the_same(self, device: str) -> None:
        random = np.random.default_rng(0)
        frames, centroids = (random.standard_normal((size, 39), dtype=np.float32) for size in (5000, 200))
        np.testing.assert_array_equal(nearest_units(frames, centroids, device), nearest_units(frames, centroids))

    def test_features(self, files: list[AudioFile], device: Any) -> None:
        model = tiny_teacher()
        expected = list(HiddenFeatures(copy.deepcopy(model), 2, Context()).of(files))
        found = list(HiddenFeatures(model, 2, Context(device=device)).of(files))
        assert len(found) == len(files)
        for ours, theirs in zip(found, expected, strict=True):
            assert relative_error(torch.from_numpy(ours), torch.from_numpy(theirs)) < TF32_ERROR


class TestLowRank:
    @pytest.mark.parametrize("size", [(48, 96), (96, 48)])
    @pytest.mark.parametrize("whitens", [True, False])
    def test_truncated_weights(self, size: tuple[int, int], whitens: bool, device: str) -> None:
        weight = speech_like(*size)
        inputs = speech_like(500, size[1], seed=1).double() * torch.linspace(0.1, 3, size[1]).double()
        moment = inputs.T @ inputs / len(inputs)
        products = []
        for where in ("cpu", device):
            whitening = whitening_of(moment.to(where)) if whitens else None
            factors = factors_of(weight.to(where), whitening)
            down, up = factors.truncated(12)
            assert down.device.type == "cpu"
            products.append((up @ down, factors.singular_values))
        for ours, theirs in zip(products[1], products[0], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)

    def test_moments(self, device: str) -> None:
        linears = ["layers.0.attention.q_proj", "layers.0.attention.k_proj", "layers.1.feed_forward.output_dense"]
        batches = [speech_like(2, 8_000, seed=seed) for seed in range(3)]
        expected = second_moments(tiny_teacher(), linears, batches)
        found = second_moments(tiny_teacher().to(device), linears, batches)
        assert found.keys() == expected.keys()
        for path, moment in found.items():
            assert moment.device.type == device
            assert relative_error(moment, expected[path]) < TF32_ERROR
