"""The training loop: batches, noise, accumulation, precision, and what it writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from bench.audio.files import read_headers
from bench.contracts import Context
from bench.errors import UserError
from bench.upstream import UpstreamModel
from bench.upstream.config import uniform_config
from compressors.dphubert.config import DPHuBERTConfig
from compressors.dphubert.joint_stage import JointDistillationPruning
from compressors.settings import StageConfig
from compressors.training.loop import Training
from compressors.training.seeds import derived_seed
from tests.helpers.small_training import STAGE, Noisy, history_rows


class TestTraining:
    stage = STAGE

    def test_stages_differ_in_their_noise_and_share_one_history(self, training: Training) -> None:
        first, second = Noisy(), Noisy()
        training.run("first", self.stage, first)
        training.run("second", self.stage, second)
        assert first.seen != second.seen
        assert [row["stage"] for row in history_rows(training.history)] == ["first"] * 6 + ["second"] * 6

    def test_another_seed_is_another_result(self, training: Training, tmp_path: Path) -> None:
        first, second = Noisy(), Noisy()
        training.run("stage", self.stage, first)
        replace(training, workdir=tmp_path / "other", context=Context(seed=4)).run("stage", self.stage, second)
        assert first.seen != second.seen

    def test_worker_processes_do_not_change_the_result(self, training: Training, tmp_path: Path) -> None:
        first, second = Noisy(), Noisy()
        training.run("stage", self.stage, first)
        config = training.config.model_copy(update={"num_workers": 2})
        replace(training, config=config, workdir=tmp_path / "other").run("stage", self.stage, second)
        assert first.seen == second.seen

    def test_accumulation_averages_the_gradients_of_its_batches(self, training: Training) -> None:
        objective = Noisy()
        training.run("stage", StageConfig(updates=3, warmup_updates=0, learning_rate=1e-9), objective)
        rows = history_rows(training.history)
        assert len(objective.seen) == 6
        assert float(rows[0]["progress"]) == 0.5

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_unreadable_audio_stops_the_stage_with_one_line(
        self, training: Training, tmp_path: Path, num_workers: int
    ) -> None:
        path = tmp_path / "nan.wav"
        soundfile.write(path, np.full(16_000, np.nan), 16_000, subtype="FLOAT")
        config = training.config.model_copy(update={"num_workers": num_workers})
        with pytest.raises(UserError, match=r"^Expected finite samples. Found NaN or infinity in .*nan.wav") as caught:
            replace(training, config=config, files=read_headers([path])).run("stage", self.stage, Noisy())
        assert "\n" not in str(caught.value)

    def test_writes_nothing_to_standard_output_and_nothing_else_to_disk(
        self, training: Training, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        training.run("stage", self.stage, Noisy())
        captured = capfd.readouterr()
        assert captured.out == ""
        assert "lightning" not in captured.err.lower()
        assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
            "training.csv",
            "work",
            "work/stage.ckpt",
            "work/stage.previous.ckpt",
        ]

    @pytest.mark.parametrize("architecture", ["hubert", "wavlm"])
    def test_mixed_precision_keeps_weights_gates_and_losses_in_fp32(
        self, training: Training, architecture: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """bf16, in which any CPU computes, if slowly."""
        monkeypatch.setattr("compressors.training.precision.has_bf16_units", lambda device: True)
        teacher = UpstreamModel(uniform_config(architecture, 32, 2, 4, 48, conv_channels=8, positional_kernel=16))
        config = DPHuBERTConfig(
            joint=self.stage, final=self.stage, precision="bf16", seconds_per_batch=3, log_updates=1
        )
        objective = JointDistillationPruning(teacher.eval(), config)
        dtypes: dict[str, torch.dtype] = {}
        for name, module in objective.named_modules():
            module.register_forward_hook(
                lambda _module, _inputs, output, name=name: dtypes.update({name: getattr(output, "dtype", None)})
            )
        replace(training, config=config).run("stage", self.stage, objective)
        assert {parameter.dtype for parameter in objective.parameters()} == {torch.float32}
        assert dtypes["distillation.student.layers.0.attention.q_proj"] == torch.bfloat16
        assert {dtypes[name] for name in ("gates.head/0", "gates.conv/0", "multipliers")} == {torch.float32}
        assert all(np.isfinite(float(row["loss"])) for row in history_rows(training.history))

    def test_seeds_use_the_bits_that_torch_uses(self) -> None:
        seeds = [derived_seed("stage", index) for index in range(1000)]
        assert len(set(seeds)) == 1000
        assert max(seeds) < 2**32
