"""Training in two processes: the same updates as in one, whatever the method; resuming with another number."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.contracts import AudioSource, Compressor, Context
from bench.upstream import UpstreamModel
from compressors.distill_only import DistillOnly, DistillOnlyConfig
from compressors.dphubert.compressor import DPHuBERT
from compressors.dphubert.config import DPHuBERTConfig
from compressors.prune_only.compressor import PruneOnly
from compressors.prune_only.config import PruneOnlyConfig
from compressors.settings import StageConfig
from tests.helpers.method_checks import tiny_teacher

STAGE = StageConfig(updates=6, warmup_updates=1, learning_rate=1e-3)
SHARED: dict[str, Any] = {
    "sparsity": 0.5,
    "seconds_per_batch": 3.0,
    "max_duration_s": 1.5,
    "accumulate_batches": 2,
    "checkpoint_updates": 2,
    "log_updates": 2,
}

DPHUBERT = DPHuBERT(DPHuBERTConfig(joint=STAGE, final=STAGE, sparsity_warmup_updates=2, schedule="auto", **SHARED))
DISTILL_ONLY = DistillOnly(DistillOnlyConfig(distillation=STAGE, **SHARED))
PRUNE_ONLY = PruneOnly(
    PruneOnlyConfig(head=STAGE, recovery=STAGE, importance="taylor", taylor_batches=2, num_clusters=8, **SHARED)
)


@pytest.fixture
def audio(speech_folder: Path) -> AudioSource:
    return AudioSource(root=speech_folder)


def _curve(workdir: Path, name: str) -> tuple[list[str], np.ndarray]:
    with (workdir / "beside" / name / "training.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figures = [[float(value or 0) for key, value in row.items() if key != "stage"] for row in rows]
    return [row["stage"] for row in rows], np.array(figures)


def _assert_same(model: UpstreamModel, expected: UpstreamModel) -> None:
    assert model.config == expected.config
    weights = model.state_dict()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5, msg=name)


class TestTheSameUpdates:
    @pytest.mark.slow
    @pytest.mark.parametrize("compressor", [DPHUBERT, DISTILL_ONLY, PRUNE_ONLY], ids=lambda each: each.name)
    def test_two_processes_make_the_model_and_the_history_of_one(
        self, audio: AudioSource, tmp_path: Path, compressor: Compressor
    ) -> None:
        one = compressor.compress(tiny_teacher(), audio, tmp_path / "one", Context())
        two = compressor.compress(tiny_teacher(), audio, tmp_path / "two", Context(devices=2))
        assert list(two) == list(one)
        stages, expected = _curve(tmp_path / "one", compressor.name)
        found_stages, found = _curve(tmp_path / "two", compressor.name)
        assert found_stages == stages
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        for name, model in one.items():
            _assert_same(two[name], model)
