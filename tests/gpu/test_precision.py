"""Training in bf16 and fp16 against fp32, training on the device against the CPU, and steps that wait for nothing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.contracts import AudioSource, Context
from bench.testing import tiny_teacher
from bench.upstream.matmul_precision import matmul_precision
from compressors.distill_only import DistillOnly, DistillOnlyConfig
from compressors.dphubert.config import SMOKE
from compressors.dphubert.joint_stage import JointDistillationPruning
from compressors.settings import StageConfig
from compressors.training.loop import StageModule
from compressors.training.precision import has_bf16_units, wrong_convolutions
from tests.helpers.small_training import history_rows

pytestmark = pytest.mark.gpu

UPDATES = 24
LARGEST_DIFFERENCE = {"fp32": 0.02, "bf16": 0.05, "fp16": 0.05}
"""Of a row's loss, relative to the loss in fp32 on the CPU."""


def losses(folder: Path, audio: AudioSource, device: Any, precision: Any) -> np.ndarray:
    """Train a student without dropout, and return the losses in ``training.csv``."""
    no_dropout = DistillOnlyConfig.model_fields["dropout"].get_default(call_default_factory=True)
    config = DistillOnlyConfig(
        distillation=StageConfig(updates=UPDATES, warmup_updates=8, learning_rate=1e-4),
        dropout=no_dropout.model_copy(update=dict.fromkeys(type(no_dropout).model_fields, 0.0)),
        precision=precision,
        seconds_per_batch=3.0,
        max_duration_s=1.5,
        log_updates=UPDATES // 4,
    )
    compressor = DistillOnly(config)
    compressor.check(tiny_teacher(), audio, Context(device=device))
    compressor.compress(tiny_teacher(), audio, folder, Context(device=device))
    rows = history_rows(folder / "beside" / compressor.name / "training.csv")
    # Loss scaling begins too high, and may skip some updates until it has adapted.
    assert sum(float(row.get("skipped_updates") or 0) for row in rows) < UPDATES / 2
    return np.array([float(row["loss"]) for row in rows])


@pytest.fixture
def audio(speech_folder: Path) -> AudioSource:
    return AudioSource(root=speech_folder)


@pytest.mark.parametrize("precision", LARGEST_DIFFERENCE)
def test_losses_are_those_of_the_cpu(precision: str, audio: AudioSource, device: str, tmp_path: Path) -> None:
    if device == "cpu" and precision != "fp32" and not (precision == "bf16" and has_bf16_units("cpu")):
        pytest.skip(f"this CPU has no {precision}")
    if device == "cuda" and precision == "bf16" and not has_bf16_units("cuda"):
        pytest.skip("this GPU has no bf16")
    expected = losses(tmp_path / "cpu", audio, "cpu", "fp32")
    found = losses(tmp_path / "device", audio, device, precision)
    assert len(found) == 4
    np.testing.assert_allclose(found, expected, rtol=LARGEST_DIFFERENCE[precision])


@pytest.mark.parametrize("kind", ["hubert", "wavlm-large"])
def test_convolutions_are_right_in_bf16(kind: str, device: str) -> None:
    assert wrong_convolutions(tiny_teacher(kind).to(device)) == []


@pytest.mark.parametrize("schedule", ["fixed", "auto"])
@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_step_of_stage_1_waits_for_nothing(precision: torch.dtype | None, schedule: str, device: str) -> None:
    """Lists the lines at which the host waits for the device. A CPU has none."""
    torch.manual_seed(0)
    config = SMOKE.model_copy(update={"schedule": schedule})
    objective = JointDistillationPruning(tiny_teacher(), config, device).train()
    module = StageModule(objective, config.joint, 0).to(device)
    module.precision = "fp32" if precision is None else "bf16"
    optimizer = module.configure_optimizers()["optimizer"]
    waveforms = torch.randn(2, 16_000, device=device)

    def step(update: int) -> None:
        objective.before_update(update, optimizer)
        optimizer.zero_grad()
        with torch.autocast(device, precision, enabled=precision is not None):
            parts = objective(waveforms, update)
        {key: module._scalar(value) for key, value in parts.items()}
        parts["loss"].backward()
        module.configure_gradient_clipping(optimizer, config.max_gradient_norm)
        optimizer.step()

    with matmul_precision("high" if device == "cuda" else "highest"):
        # Constants are copied to the device once. The automatic schedule may look at its gates every ten updates.
        for update in (0, 1):
            step(update)
        waits = waits_in(lambda: step(2), device)
    assert not waits


def waits_in(work: Any, device: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    return [f"{each.filename}:{each.lineno}" for each in caught if "called a synchronizing" in str(each.message)]


@pytest.mark.usefixtures("gpu")
def test_waits_are_noticed(device: str) -> None:
    values = nn.Linear(2, 2).to(device).weight
    assert len(waits_in(lambda: values.sum().item(), device)) == 1
