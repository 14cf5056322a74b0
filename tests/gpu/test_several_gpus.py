"""Training on all GPUs of the machine makes the updates of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.contracts import AudioSource, Compressor, Context
from bench.testing import tiny_teacher
from compressors.distill_only import DistillOnly, DistillOnlyConfig
from compressors.dphubert.compressor import DPHuBERT
from compressors.dphubert.config import DPHuBERTConfig
from compressors.masked_distill import MaskedDistill, MaskedDistillConfig
from compressors.settings import StageConfig
from tests.helpers.command_line import bench
from tests.helpers.small_training import history_rows

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

STAGE = StageConfig(updates=6, warmup_updates=1, learning_rate=1e-4)


def made_with(devices: int) -> list[Compressor]:
    """Methods of six updates, whose batches so many devices can share."""
    shared: dict[str, Any] = {
        "sparsity": 0.5,
        "seconds_per_batch": 3.0,
        "max_duration_s": 1.5,
        "accumulate_batches": devices,
        "log_updates": 2,
        # Without TF32 in products of matrices, sums in another order differ little.
        "float32_matmul_precision": "highest",
    }
    return [
        DistillOnly(DistillOnlyConfig(distillation=STAGE, **shared)),
        DPHuBERT(DPHuBERTConfig(joint=STAGE, final=STAGE, sparsity_warmup_updates=2, schedule="auto", **shared)),
        MaskedDistill(MaskedDistillConfig(prediction=STAGE, num_clusters=8, **shared)),
    ]


@pytest.mark.parametrize("number", range(3), ids=["distill-only", "dphubert", "masked-distill"])
def test_losses_are_those_of_one_device(
    number: int, num_devices: int, device: Any, speech_folder: Path, tmp_path: Path
) -> None:
    compressor = made_with(num_devices)[number]
    curves = []
    for devices in (1, num_devices):
        folder = tmp_path / str(devices)
        context = Context(device=device, devices=devices)
        compressor.compress(tiny_teacher(), AudioSource(root=speech_folder), folder, context)
        curves.append(history_rows(folder / "beside" / compressor.name / "training.csv"))
    one, several = curves
    assert [(row["stage"], row["update"]) for row in several] == [(row["stage"], row["update"]) for row in one]
    found, expected = (np.array([float(row["loss"]) for row in rows]) for rows in (several, one))
    np.testing.assert_allclose(found, expected, rtol=0.02)


def test_the_command(num_devices: int, device: str, all_data: Path, tmp_path: Path) -> None:
    words = ["compress", "--compressor", "dphubert", "--preset", "smoke", "--data", str(all_data), "--device", device]
    words += ["--devices", str(num_devices), "--set", f"accumulate_batches={num_devices}", "--set", "precision=auto"]
    done = bench(*words, "--out", str(tmp_path / "model"))
    assert done.returncode == 0, done.stderr
    assert {row["stage"] for row in history_rows(tmp_path / "model" / "training.csv")} == {"joint", "final"}
