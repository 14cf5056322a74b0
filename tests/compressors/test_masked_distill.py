"""masked-distill as a whole, on a tiny teacher and real files: what it makes, what it learns, what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.upstream.checkpoint import weights_hash
from bench.upstream.cost import count_dphubert_parameters
from compressors.distill_only import DistillOnly
from compressors.masked_distill import MaskedDistill, MaskedDistillConfig
from compressors.objectives.frame_prediction import FramePrediction
from compressors.objectives.masked_prediction import Target
from compressors.settings import StageConfig
from compressors.students.shapes import thin_student, thin_student_shape
from tests.helpers.method_checks import TEACHER_SHAPE, assert_interruptions_change_nothing, tiny_teacher


def _config(**changes: Any) -> MaskedDistillConfig:
    fields: dict[str, Any] = {
        "prediction": StageConfig(updates=6, warmup_updates=2, learning_rate=1e-3),
        "sparsity": 0.5,
        "num_clusters": 8,
        "kmeans_share": 1.0,
        "projection_dim": 16,
        "seconds_per_batch": 3.0,
        "max_duration_s": 1.5,
        "checkpoint_updates": 2,
        "log_updates": 2,
    }
    return MaskedDistillConfig.model_validate(fields | changes)


@pytest.fixture
def audio(speech_folder: Path) -> AudioSource:
    return AudioSource(root=speech_folder)


class TestCompress:
    def test_makes_one_small_model_and_leaves_the_predictor_beside_it(self, audio: AudioSource, tmp_path: Path) -> None:
        teacher = tiny_teacher()
        before = weights_hash(teacher)
        models = MaskedDistill(_config()).compress(teacher, audio, tmp_path, Context())
        assert list(models) == ["masked-distill"]
        student = models["masked-distill"]
        assert not student.training
        left = count_dphubert_parameters(student.config) / count_dphubert_parameters(TEACHER_SHAPE)
        assert 0.99 * 0.5 <= left <= 0.5
        states, lengths = student(torch.randn(1, 4000))
        assert [state.shape for state in states] == [(1, int(lengths[0]), student.dim)] * 4
        assert all(state.isfinite().all() for state in states)
        assert weights_hash(teacher) == before
        beside = tmp_path / "beside" / "masked-distill"
        assert {path.name for path in beside.iterdir()} == {"training.csv", "masked_prediction.safetensors"}
        assert {
            key: tuple(value.shape) for key, value in load_file(beside / "masked_prediction.safetensors").items()
        } == {
            "mask_embedding": (student.dim,),
            "predictors.0.projection.weight": (16, student.dim),
            "predictors.0.projection.bias": (16,),
            "predictors.0.embeddings": (8, 16),
        }
        with (beside / "training.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["stage"], row["update"]) for row in rows] == [("prediction", str(n)) for n in (2, 4, 6)]

    def test_the_same_seed_gives_the_same_model_and_another_another(self, audio: AudioSource, tmp_path: Path) -> None:
        hashes = []
        for run, seed in enumerate((1, 1, 2)):
            torch.manual_seed(run)
            models = MaskedDistill(_config()).compress(tiny_teacher(), audio, tmp_path / str(run), Context(seed=seed))
            hashes.append(weights_hash(models["masked-distill"]))
        assert hashes[0] == hashes[1] != hashes[2]

    @pytest.mark.slow
    def test_learns_what_is_masked(self, audio: AudioSource, tmp_path: Path) -> None:
        stage = StageConfig(updates=150, warmup_updates=15, learning_rate=5e-3)
        config = _config(prediction=stage, feature_penalty_weight=0.0, log_updates=30, checkpoint_updates=150)
        MaskedDistill(config).compress(tiny_teacher(), audio, tmp_path, Context())
        with (tmp_path / "beside" / "masked-distill" / "training.csv").open(newline="") as file:
            losses = [float(row["masked_loss"]) for row in csv.DictReader(file)]
        assert losses[-1] < losses[0] - 0.3


class TestWithoutMasks:
    SEVERAL: ClassVar = {"masked": False, "unit_layers": [1, 3]}

    def test_predicts_units_of_several_layers_at_every_frame(self, audio: AudioSource, tmp_path: Path) -> None:
        MaskedDistill(_config(**self.SEVERAL)).compress(tiny_teacher(), audio, tmp_path, Context())
        beside = tmp_path / "beside" / "masked-distill"
        weights = load_file(beside / "masked_prediction.safetensors")
        assert {key.split(".")[1] for key in weights} == {"0", "1"}
        assert "mask_embedding" not in weights
        with (beside / "training.csv").open(newline="") as file:
            row = next(csv.DictReader(file))
        assert {"unit_loss", "accuracy"} <= row.keys()
        assert not [column for column in row if "mask" in column]

    def test_every_frame_and_layer_counts(self) -> None:
        torch.manual_seed(0)
        config = _config(**self.SEVERAL, feature_penalty_weight=0.0)
        student = thin_student(tiny_teacher(), thin_student_shape(TEACHER_SHAPE, config), config.dropout, seed=0).eval()
        prediction = FramePrediction(student, [Target(1, 8), Target(3, 8)], config)
        waveforms = torch.randn(2, 4000)
        states, lengths = student(waveforms)
        labels = torch.randint(0, 8, (2, 2, int(lengths[0])))
        losses = [
            torch.nn.functional.cross_entropy(predict(states[layer]).flatten(0, 1), labels[:, index].flatten())
            for index, (predict, layer) in enumerate(zip(prediction.predictors, (1, 3), strict=True))
        ]
        found = prediction(waveforms, labels, 0)["loss"]
        torch.testing.assert_close(found, torch.stack(losses).mean())

    def test_interrupted_it_ends_in_the_same_model(self, speech_folder: Path, tmp_path: Path) -> None:
        compressor = MaskedDistill(_config(**self.SEVERAL))
        assert_interruptions_change_nothing(compressor, ("prediction",), speech_folder, tmp_path)

    def test_settings_without_effect_are_not_stored(self) -> None:
        stored = _config(**self.SEVERAL).model_dump()
        assert not {"mask_span_frames", "mask_start_probability", "unmasked_loss_weight", "cluster_layer"} & set(stored)
        assert {"mask_span_frames", "cluster_layer"} <= set(_config().model_dump())

    def test_a_layer_named_twice_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="names a layer twice"):
            _config(unit_layers=[2, 2])


class TestStudent:
    def test_has_the_shape_of_distill_onlys(self) -> None:
        from compressors.distill_only import student_shape

        config = DistillOnly.presets["smoke"].model_copy(update={"sparsity": 0.5})
        assert thin_student_shape(TEACHER_SHAPE, _config()) == student_shape(TEACHER_SHAPE, config)

    @pytest.mark.parametrize(("weights", "is_teachers"), [("teacher", True), ("random", False)])
    def test_starts_from_the_teachers_extractor_or_from_nothing(self, weights: Any, is_teachers: bool) -> None:
        teacher, config = tiny_teacher(), _config()
        shape = thin_student_shape(TEACHER_SHAPE, config)
        student = thin_student(teacher, shape, config.dropout, seed=0, extractor_weights=weights)
        mine, theirs = student.state_dict(), teacher.state_dict()
        convolutions = [key for key in mine if key.startswith("feature_extractor.") and key.endswith("conv.weight")]
        assert convolutions
        assert all(mine[key].equal(theirs[key]) == is_teachers for key in convolutions)


class TestResume:
    def test_interrupted_it_ends_in_the_same_model(self, speech_folder: Path, tmp_path: Path) -> None:
        assert_interruptions_change_nothing(MaskedDistill(_config()), ("prediction",), speech_folder, tmp_path)


class TestCheck:
    def test_accepts_what_works(self, audio: AudioSource) -> None:
        MaskedDistill(_config()).check(tiny_teacher(), audio, Context())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"cluster_layer": 4}, r"from 1 to 3.*Found cluster_layer=4"),
            ({"unit_layers": [1, 4]}, r"from 1 to 3.*Found unit_layers=\[1, 4\]"),
            ({"unit_layers": [0]}, r"from 1 to 3.*Found unit_layers=\[0\]"),
            ({"num_clusters": 30_000}, "at least 30000 frames"),
            ({"params": "94M"}, "params=94000000"),
            ({"min_duration_s": 60.0}, "at least 60 s"),
        ],
    )
    def test_refuses_what_cannot_work(self, audio: AudioSource, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            MaskedDistill(_config(**changes)).check(tiny_teacher(), audio, Context())


class TestPresets:
    def test_paper_is_huberts_second_iteration(self) -> None:
        """HuBERT section IV-B: 400k updates of 32 GPUs with 87.5 s each, layer 9 of a second Base, 500 clusters."""
        paper = MaskedDistill.presets["paper"]
        assert paper.prediction == StageConfig(updates=400_000, warmup_updates=32_000, learning_rate=5e-4)
        assert (paper.seconds_per_batch, paper.accumulate_batches) == (87.5, 32)
        assert (paper.num_clusters, paper.unmasked_loss_weight, paper.feature_penalty_weight) == (500, 0.0, 10.0)
        assert (paper.mask_span_frames, paper.mask_start_probability) == (10, 0.08)
        assert paper.extractor_weights == "random"

    def test_mini_trains_as_much_as_the_other_methods(self) -> None:
        mini, other = MaskedDistill.presets["mini"], DistillOnly.presets["mini"]
        assert mini.num_updates() == other.num_updates()
        for name in ("seconds_per_batch", "min_duration_s", "max_duration_s", "accumulate_batches"):
            assert getattr(mini, name) == getattr(other, name)
