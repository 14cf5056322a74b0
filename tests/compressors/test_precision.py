"""Which precision a stage computes in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import Context
from bench.errors import UserError
from bench.testing import TEACHER_SHAPES
from bench.upstream import UpstreamModel
from bench.upstream.gates import Gates
from compressors.settings import TrainingConfig
from compressors.training import precision
from compressors.training.precision import (
    attention_kernels,
    matmul_precision_on,
    numerics,
    optimizer_options,
    precision_on,
    stage_precision,
    wrong_convolutions,
)


class WrongInBf16(nn.Conv1d):
    def forward(self, inputs: Tensor) -> Tensor:
        convolved = super().forward(inputs)
        return convolved.flip(1) if convolved.dtype == torch.bfloat16 else convolved


@pytest.mark.parametrize(("has_units", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_bf16_where_the_cpu_has_units(has_units: bool, expected: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(precision, "has_bf16_units", lambda device: has_units)
    assert precision_on(TrainingConfig(precision="auto"), Context()) == expected
    assert precision_on(TrainingConfig(), Context()) == "fp32"


def test_mixed_precision_is_refused_where_the_cpu_has_none(monkeypatch: Any) -> None:
    monkeypatch.setattr(precision, "has_bf16_units", lambda device: True)
    assert precision_on(TrainingConfig(precision="bf16"), Context()) == "bf16"
    with pytest.raises(UserError, match="Found precision=fp16"):
        precision_on(TrainingConfig(precision="fp16"), Context())
    monkeypatch.setattr(precision, "has_bf16_units", lambda device: False)
    with pytest.raises(UserError, match="Found precision=bf16"):
        precision_on(TrainingConfig(precision="bf16"), Context())


@pytest.mark.parametrize("name", ["hubert", "wavlm-large"])
def test_convolutions_are_right_in_bf16_here_with_gates_or_without(name: str) -> None:
    model = UpstreamModel(TEACHER_SHAPES[name])
    assert wrong_convolutions(model) == []
    Gates(model, ["conv"]).attach()
    assert wrong_convolutions(model) == []


def test_bf16_is_tried_on_the_device_that_will_train(monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Simulated: the convolution is wrong once it has been moved to the GPU."""

    class OnDevice(nn.ModuleDict):
        def to(self, device: Any) -> Any:  # type: ignore[override]
            if torch.device(device).type == "cuda":
                self["only"].__class__ = WrongInBf16
            return self

    monkeypatch.setattr(precision, "has_bf16_units", lambda device: True)
    config = TrainingConfig(precision="auto")
    assert stage_precision(OnDevice({"only": nn.Conv1d(4, 8, 3)}), config, Context()) == "bf16"
    assert stage_precision(OnDevice({"only": nn.Conv1d(4, 8, 3)}), config, Context(device="cuda")) == "fp32"
    assert "bf16: only" in caplog.text


def test_a_wrong_convolution_means_fp32(monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(precision, "has_bf16_units", lambda device: True)
    model = nn.ModuleDict({"right": nn.Conv1d(4, 8, 3), "wrong": WrongInBf16(4, 8, 3)})
    assert stage_precision(model, TrainingConfig(precision="auto"), Context()) == "fp32"
    assert "bf16: wrong" in caplog.text
    del model["wrong"]
    assert stage_precision(model, TrainingConfig(precision="auto"), Context()) == "bf16"


@pytest.mark.parametrize(
    ("setting", "cuda"), [("auto", "high"), ("highest", "highest"), ("high", "high"), ("medium", "medium")]
)
def test_float32_products_are_rounded_on_a_gpu_alone(setting: Any, cuda: str) -> None:
    config = TrainingConfig(float32_matmul_precision=setting)
    assert (matmul_precision_on(config, "cuda"), matmul_precision_on(config, "cpu")) == (cuda, "highest")


def test_the_fused_optimizer_needs_a_gpu_and_no_loss_scaling() -> None:
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert [optimizer_options(cuda, each) for each in ("fp32", "bf16", "fp16")] == [{"fused": True}] * 2 + [{}]
    assert optimizer_options(cpu, "bf16") == {}


def test_provenance_names_what_auto_means_on_the_device(monkeypatch: Any) -> None:
    monkeypatch.setattr(precision, "has_bf16_units", lambda device: device == "cuda")
    config = TrainingConfig(precision="auto")
    on_gpu = {"device": "cuda", "devices": 1, "precision": "bf16", "float32_matmul_precision": "high"}
    assert numerics(config, Context(device="cuda")) == on_gpu
    assert numerics(config, Context())["precision"] == "fp32"


@pytest.mark.parametrize(("resolved", "is_fused"), [("bf16", False), ("fp32", True)])
def test_the_fused_attention_of_the_cpu_is_left_out_in_bf16_alone(resolved: str, is_fused: bool) -> None:
    with attention_kernels(torch.device("cpu"), resolved):
        assert torch.backends.cuda.flash_sdp_enabled() is is_fused
    assert torch.backends.cuda.flash_sdp_enabled()
