"""Eight updates of the reference implementation, repeated by the training loop; its learning rates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from bench.audio.files import find_audio, read_headers
from bench.contracts import Context
from bench.upstream.config import DropoutRates
from bench.upstream.gate_kinds import HardConcrete
from compressors.dphubert.config import DPHuBERTConfig
from compressors.dphubert.joint_stage import JointDistillationPruning
from compressors.settings import StageConfig
from compressors.training.loop import Training
from tests.helpers.reference_names import gate_key, small_gated, weight_key
from tests.helpers.small_training import history_rows


class TestReferenceTrajectory:
    """Eight updates of the reference implementation, with its noise held constant, repeated by `Training.run`."""

    @pytest.fixture
    def trajectories(self, reference: Path) -> Any:
        return json.loads((reference / "losses.json").read_text())["trajectory"]

    @pytest.fixture
    def run(self, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
        def run(case: Any) -> tuple[JointDistillationPruning, list[dict[str, str]]]:
            monkeypatch.setattr(
                HardConcrete, "forward", lambda gate: gate.sample(torch.full_like(gate.log_alpha, case["u"]))
            )
            teacher, log_alphas = small_gated(reference / "dphubert_small_hubert_gated.ckpt")
            config = DPHuBERTConfig(
                joint=StageConfig(updates=len(case["steps"]), warmup_updates=3, learning_rate=1e-3),
                final=StageConfig(updates=1, warmup_updates=0, learning_rate=1e-3),
                distillation_layers=case["groups"],
                cosine={"raw": "raw", "log_sig": "log_sigmoid"}[case["cos_type"]],
                dropout=DropoutRates(projection=0, attention=0, feed_forward=0, hidden=0),
                sparsity=0.6,
                sparsity_warmup_updates=4,
                units=("conv", "head", "interm", "attlayer", "ffnlayer"),
                gate_learning_rate=0.02,
                min_duration_s=0.1,
                log_updates=1,
            )
            objective = JointDistillationPruning(teacher, config)
            objective.gates.load_state_dict({key: 0.3 * value + 1.5 for key, value in log_alphas.items()})
            waveforms = np.load(reference / "dphubert_small_hubert.npz")["wav"][:, :11041]
            for index, waveform in enumerate(waveforms):
                soundfile.write(tmp_path / f"{index}.wav", waveform, 16_000, subtype="FLOAT")
            files = read_headers(find_audio(tmp_path))
            Training(config, files, tmp_path / "work", tmp_path / "training.csv", Context()).run(
                "joint", config.joint, objective
            )
            return objective, history_rows(tmp_path / "training.csv")

        return run

    @pytest.mark.parametrize("name", ["u0.5"])
    def test_is_repeated(self, name: str, trajectories: Any, run: Callable[[Any], Any], reference: Path) -> None:
        case = trajectories[name]
        objective, rows = run(case)
        assert len(rows) == len(case["steps"]) == 8
        for row, step in zip(rows, case["steps"], strict=True):
            for ours, theirs in {
                "loss": "train_loss",
                "distillation": "train_loss_distill",
                "l1": "train_loss_l1",
                "cosine": "train_loss_cos",
                "gradient_norm": "grad_norm_before_clip",
            }.items():
                assert float(row[ours]) == pytest.approx(step[theirs], rel=1e-4), (step["step"], ours)
            for ours, theirs in {
                "regulariser": "train_loss_reg",
                "expected_sparsity": "sparsity_expected",
                "target_sparsity": "sparsity_target",
                "lambda1": "lambda1_before",
                "lambda2": "lambda2_before",
            }.items():
                assert float(row[ours]) == pytest.approx(step[theirs], rel=1e-3, abs=1e-6), (step["step"], ours)
            assert float(row["learning_rate"]) == pytest.approx(step["lrs"][0], rel=1e-6, abs=1e-12)
        last = case["steps"][-1]
        assert objective.multipliers.linear.item() == pytest.approx(last["lambda1_after"], rel=1e-3)
        assert objective.multipliers.quadratic.item() == pytest.approx(last["lambda2_after"], rel=1e-3)
        self._compare_weights(objective, name, reference)

    def _compare_weights(self, objective: JointDistillationPruning, name: str, reference: Path) -> None:
        arrays = np.load(reference / "losses.npz")
        state = objective.distillation.student.state_dict()
        state |= {f"projections.{key}": value for key, value in objective.distillation.projections.state_dict().items()}
        compared = 0
        for key in arrays:
            prefix, _, path = key.removeprefix(f"traj/{name}/").partition("/")
            if key.startswith("traj") and prefix == "final_log_alpha":
                found = objective.gates.state_dict()[f"{gate_key(path)}.log_alpha"]
            elif key.startswith("traj") and prefix == "final":
                found = state[weight_key(path).replace("proj_group", "projections.")]
            else:
                continue
            np.testing.assert_allclose(found.numpy(), arrays[key], atol=1e-3, rtol=0, err_msg=key)
            compared += 1
        assert compared == 23 + 7


class TestSchedule:
    def test_learning_rates_are_the_references(self, reference: Path) -> None:
        schedules = json.loads((reference / "losses.json").read_text())["lr_schedule"]
        for name, stage in {
            "stage1_warmup15000_max50000_lr2e-4_reg0.02": StageConfig(
                updates=50_000, warmup_updates=15_000, learning_rate=2e-4
            ),
            "stage2_warmup5000_max25000_lr1e-4": StageConfig(updates=25_000, warmup_updates=5_000, learning_rate=1e-4),
            "tiny_warmup3_max10_lr1": StageConfig(updates=10, warmup_updates=3, learning_rate=1),
        }.items():
            for update, (rate, *gate_rates) in schedules[name].items():
                factor = stage.learning_rate_factor(int(update))
                assert stage.learning_rate * factor == pytest.approx(rate, rel=1e-9, abs=1e-15), (name, update)
                assert [abs(gate_rate) for gate_rate in gate_rates] == pytest.approx([0.02 * factor] * len(gate_rates))
