"""What dphubert's student may learn beside hidden states: units of masked frames, alone or with them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.upstream import UpstreamModel
from bench.upstream.checkpoint import weights_hash
from bench.upstream.config import DropoutRates
from bench.upstream.cost import count_dphubert_parameters, count_macs
from bench.upstream.random_shapes import random_model
from compressors.dphubert.compressor import DPHuBERT
from compressors.dphubert.config import MINI, DPHuBERTConfig
from compressors.dphubert.joint_stage import JointDistillationPruning
from compressors.objectives.student_objective import DistillationAndPrediction, student_objective
from compressors.objectives.unit_prediction import UnitPrediction
from compressors.settings import StageConfig
from tests.helpers.method_checks import TEACHER_SHAPE, assert_interruptions_change_nothing, tiny_teacher

NO_DROPOUT = DropoutRates(projection=0.0, attention=0.0, feed_forward=0.0, hidden=0.0)
BESIDE = {
    "masked": {"training.csv", "masked_prediction.safetensors"},
    "both": {"training.csv", "masked_prediction.safetensors", "distillation_projections.safetensors"},
}


def _config(objective: str, **changes: Any) -> DPHuBERTConfig:
    fields: dict[str, Any] = {
        "objective": objective,
        "joint": StageConfig(updates=6, warmup_updates=2, learning_rate=1e-3),
        "final": StageConfig(updates=4, warmup_updates=1, learning_rate=1e-3),
        "sparsity": 0.6,
        "sparsity_warmup_updates": 2,
        "num_clusters": 8,
        "kmeans_share": 1.0,
        "projection_dim": 16,
        "seconds_per_batch": 3.0,
        "max_duration_s": 1.5,
        "checkpoint_updates": 2,
        "log_updates": 2,
    }
    return DPHuBERTConfig.model_validate(fields | changes)


@pytest.fixture
def audio(speech_folder: Path) -> AudioSource:
    return AudioSource(root=speech_folder)


def _batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.randn(2, 16_000, generator=generator)
    return waveforms, torch.randint(8, (2, 1, TEACHER_SHAPE.num_frames(16_000)), generator=generator)


class TestCompress:
    @pytest.fixture(scope="class", params=["masked", "both"])
    def made(
        self, request: pytest.FixtureRequest, speech_folder: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> tuple[str, Path, UpstreamModel]:
        workdir = tmp_path_factory.mktemp(request.param)
        compressor = DPHuBERT(_config(request.param))
        compressor.check(tiny_teacher(), AudioSource(root=speech_folder), Context(seed=1))
        models = compressor.compress(tiny_teacher(), AudioSource(root=speech_folder), workdir, Context(seed=1))
        return request.param, workdir, models["dphubert"]

    def test_makes_a_model_of_the_size_with_nothing_of_the_predictors(
        self, made: tuple[str, Path, UpstreamModel]
    ) -> None:
        objective, workdir, student = made
        target = 0.4 * count_dphubert_parameters(TEACHER_SHAPE)
        assert count_dphubert_parameters(student.config) == pytest.approx(target, rel=0.01)
        assert set(student.state_dict()) == set(random_model(student.config).state_dict())
        assert {path.name for path in (workdir / "beside" / "dphubert").iterdir()} == BESIDE[objective]

    def test_both_stages_learn_it(self, made: tuple[str, Path, UpstreamModel]) -> None:
        objective, workdir, _ = made
        with (workdir / "beside" / "dphubert" / "training.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["stage"] for row in rows] == ["joint"] * 3 + ["final"] * 2
        for row in rows:
            masked = float(row["masked_loss"]) + 10 * float(row["feature_penalty"])
            learnt = float(row["distillation"] or row["loss"])
            if objective == "both":
                assert learnt == pytest.approx(float(row["hidden_loss"]) + 0.1 * masked, rel=1e-4)
                assert float(row["hidden_loss"]) == pytest.approx(float(row["l1"]) + float(row["cosine"]), rel=1e-4)
            else:
                assert learnt == pytest.approx(masked, rel=1e-4)

    def test_the_second_stage_goes_on_with_the_predictors_of_the_first(
        self, made: tuple[str, Path, UpstreamModel]
    ) -> None:
        _, workdir, _ = made
        first, last = (
            torch.load(workdir / f"{stage}.ckpt", weights_only=True)["state_dict"] for stage in ("joint", "final")
        )
        embeddings = [
            next(value for key, value in state.items() if key.endswith("predictors.0.embeddings"))
            for state in (first, last)
        ]
        assert 0 < (embeddings[0] - embeddings[1]).abs().max() < 0.1

    def test_the_same_seed_gives_the_same_model(
        self, made: tuple[str, Path, UpstreamModel], audio: AudioSource, tmp_path: Path
    ) -> None:
        objective, _, student = made
        again = DPHuBERT(_config(objective)).compress(tiny_teacher(), audio, tmp_path, Context(seed=1))["dphubert"]
        assert weights_hash(again) == weights_hash(student)

    @pytest.mark.parametrize("objective", ["masked", "both"])
    def test_lets_closed_units_go_while_it_trains(self, audio: AudioSource, tmp_path: Path, objective: str) -> None:
        joint = StageConfig(updates=24, warmup_updates=2, learning_rate=1e-3)
        config = _config(objective, shrink=True, gate_learning_rate=1.0, joint=joint, units=("head", "interm"))
        workdir = tmp_path / "work"
        student = DPHuBERT(config).compress(tiny_teacher(), audio, workdir, Context())["dphubert"]
        state = torch.load(workdir / "joint.ckpt", weights_only=True)["state_dict"]
        inside = [value.shape[0] for key, value in state.items() if key.endswith("intermediate_dense.weight")]
        assert min(inside) < TEACHER_SHAPE.layers[0].feed_forward
        (workdir / "final.ckpt").unlink()
        again = DPHuBERT(config).compress(tiny_teacher(), audio, workdir, Context())["dphubert"]
        assert weights_hash(again) == weights_hash(student)

    def test_interrupted_it_ends_in_the_same_model(self, speech_folder: Path, tmp_path: Path) -> None:
        assert_interruptions_change_nothing(DPHuBERT(_config("both")), ("joint", "final"), speech_folder, tmp_path)


class TestBoth:
    @pytest.fixture
    def both(self) -> DistillationAndPrediction:
        torch.manual_seed(0)
        config = _config("both", dropout=NO_DROPOUT, extractor_gradient_scale=1.0, masked_weight=0.5)
        objective = student_objective(random_model(TEACHER_SHAPE, seed=1), tiny_teacher(), config, "cpu")
        assert isinstance(objective, DistillationAndPrediction)
        return objective

    def test_is_the_sum_of_the_two(self, both: DistillationAndPrediction) -> None:
        """Each computed by itself, in a pass of its own with the same mask; values and gradients."""
        waveforms, labels = _batch()

        def gradients(loss: Any) -> Mapping[str, Tensor]:
            both.zero_grad()
            loss.backward()
            return {name: value.grad.clone() for name, value in both.named_parameters() if value.grad is not None}

        torch.manual_seed(3)
        parts = both(waveforms, labels, 0)
        found = gradients(parts["loss"])
        torch.manual_seed(3)
        hidden, masked = both.distillation(waveforms, 0), both.prediction(waveforms, labels, 0)
        torch.testing.assert_close(parts["hidden_loss"], hidden["loss"])
        torch.testing.assert_close(parts["masked_loss"], masked["masked_loss"])
        wanted = gradients(hidden["loss"] + 0.5 * masked["loss"])
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)

    def test_hears_a_batch_once(self, both: DistillationAndPrediction) -> None:
        heard = []
        both.student.feature_extractor.register_forward_hook(lambda *_: heard.append(1))
        both(*_batch(), 0)
        assert heard == [1]

    def test_trains_one_student(self, both: DistillationAndPrediction) -> None:
        assert both.student is both.prediction.student
        groups = both.parameter_groups(1e-3)
        assert [group["lr"] for group in groups] == pytest.approx([1e-3, 1e-2])
        trained = [id(value) for group in groups for value in group["params"]]
        assert sorted(trained) == sorted(id(value) for value in both.parameters())
        assert id(both.prediction.mask_embedding) in trained


class TestPruned:
    def test_shares_all_that_is_learnt_but_the_student(self) -> None:
        joint = JointDistillationPruning(tiny_teacher(), _config("masked"))
        before = joint.distillation
        final = joint.pruned()
        assert isinstance(before, UnitPrediction)
        assert isinstance(final, UnitPrediction)
        assert final.mask_embedding is before.mask_embedding
        assert final.predictors is before.predictors
        assert final.student is not before.student
        assert final(*_batch(), 0)["loss"].isfinite()  # type: ignore[union-attr]


class TestCosts:
    def test_a_second_pass_of_the_transformer_and_units_cost(self) -> None:
        seconds = 2.0
        whole = count_macs(TEACHER_SHAPE, round(16_000 * seconds))
        extractor = count_macs(TEACHER_SHAPE.model_copy(update={"layers": ()}), round(16_000 * seconds))
        hidden, masked, both = (
            MINI.model_copy(update={"objective": objective}).training_macs(TEACHER_SHAPE)
            for objective in ("hidden", "masked", "both")
        )
        assert masked == hidden
        crops = 4.0 / seconds  # A batch of 4 s.
        second = 1 - extractor / whole
        more = crops * whole * (300 * (1 + 3 * second) + 150 * (1 + 3 * 0.25 * second))
        assert both - hidden == pytest.approx(more, rel=1e-2)


class TestCheck:
    @pytest.mark.parametrize("objective", ["masked", "both"])
    def test_units_that_cannot_be_made_are_refused(self, audio: AudioSource, objective: str) -> None:
        with pytest.raises(UserError, match="at least 30000 frames"):
            DPHuBERT(_config(objective, num_clusters=30_000)).check(tiny_teacher(), audio, Context())
        with pytest.raises(UserError, match="Found cluster_layer=4"):
            DPHuBERT(_config(objective, cluster_layer=4)).check(tiny_teacher(), audio, Context())

    def test_hidden_states_need_none(self, audio: AudioSource) -> None:
        DPHuBERT(_config("hidden", num_clusters=30_000, cluster_layer=4)).check(tiny_teacher(), audio, Context())
