"""distill-only as a whole, on a tiny teacher and real files: every student, resuming, what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from bench.config.later_settings import with_later_settings
from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.profiling import model_card
from bench.upstream import UpstreamModel
from bench.upstream.checkpoint import weights_hash
from bench.upstream.config import uniform_config
from bench.upstream.cost import superb_macs
from bench.upstream.initialisation import uninitialised
from bench.upstream.random_shapes import SHAPES
from compressors.distill_only import DistillOnly, DistillOnlyConfig, make_student, state_predictors
from compressors.dphubert.compressor import DPHuBERT
from compressors.settings import StageConfig
from tests.helpers.choices import settings_of
from tests.helpers.method_checks import TEACHER_SHAPE, assert_interruptions_change_nothing, tiny_teacher

STUDENTS = ["deep-thin", "distilhubert", "wide-shallow"]


def _config(**changes: Any) -> DistillOnlyConfig:
    fields: dict[str, Any] = {
        "distillation": StageConfig(updates=6, warmup_updates=2, learning_rate=1e-3),
        "seconds_per_batch": 3.0,
        "max_duration_s": 1.5,
        "checkpoint_updates": 2,
        "log_updates": 2,
    }
    return DistillOnlyConfig.model_validate(fields | changes)


def _num_parameters(model: UpstreamModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture
def audio(speech_folder: Path) -> AudioSource:
    return AudioSource(root=speech_folder)


class TestCompress:
    @pytest.mark.parametrize(("student", "num_layers"), [("deep-thin", 3), ("distilhubert", 2), ("wide-shallow", 3)])
    def test_makes_one_working_model(self, audio: AudioSource, tmp_path: Path, student: str, num_layers: int) -> None:
        teacher = tiny_teacher()
        before = weights_hash(teacher)
        models = DistillOnly(_config(student=student)).compress(teacher, audio, tmp_path, Context())
        assert list(models) == ["distill-only"]
        model = models["distill-only"]
        assert model.num_layers == num_layers
        assert not model.training
        states, lengths = model(torch.randn(1, 4000))
        assert [state.shape for state in states] == [(1, int(lengths[0]), model.dim)] * (num_layers + 1)
        assert all(state.isfinite().all() for state in states)
        assert weights_hash(teacher) == before

    @pytest.mark.parametrize(
        ("student", "name", "shapes"),
        [
            ("deep-thin", "projections", {f"{layer}.weight": (32, 16) for layer in range(4)}),
            ("distilhubert", "heads", {f"{head}.{layer}.weight": (32, 32) for head in range(3) for layer in (0, 2)}),
        ],
    )
    def test_leaves_history_and_predictors_beside_the_model(
        self, audio: AudioSource, tmp_path: Path, student: str, name: str, shapes: dict[str, Any]
    ) -> None:
        DistillOnly(_config(student=student)).compress(tiny_teacher(), audio, tmp_path, Context())
        beside = tmp_path / "beside" / "distill-only"
        assert {path.name for path in beside.iterdir()} == {"training.csv", f"distillation_{name}.safetensors"}
        weights = load_file(beside / f"distillation_{name}.safetensors")
        assert {key: tuple(value.shape) for key, value in weights.items() if "weight" in key} == shapes
        with (beside / "training.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["stage"], row["update"]) for row in rows] == [("distillation", str(n)) for n in (2, 4, 6)]

    @pytest.mark.parametrize("student", STUDENTS)
    def test_the_same_seed_gives_the_same_model_and_another_another(
        self, audio: AudioSource, tmp_path: Path, student: str
    ) -> None:
        hashes = []
        for run, seed in enumerate((1, 1, 2)):
            torch.manual_seed(run)
            compressor = DistillOnly(_config(student=student))
            models = compressor.compress(tiny_teacher(), audio, tmp_path / str(run), Context(seed=seed))
            hashes.append(weights_hash(models["distill-only"]))
        assert hashes[0] == hashes[1] != hashes[2]

    @pytest.mark.parametrize("architecture", ["hubert", "wav2vec2", "wavlm"])
    @pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
    @pytest.mark.parametrize(
        "changes",
        [{"sparsity": 0.5}, {"target": "macs", "sparsity": 0.6}, {"params": "12k"}, {"student": "distilhubert"}],
        ids=str,
    )
    def test_takes_every_kind_of_teacher(
        self, audio: AudioSource, tmp_path: Path, architecture: Any, large: bool, changes: dict[str, Any]
    ) -> None:
        torch.manual_seed(0)
        position = {"num_buckets": 8, "max_distance": 20}
        relative = {"relative_position": position} if architecture == "wavlm" else {}
        shape = uniform_config(
            architecture,
            32,
            2,
            4,
            48,
            conv_channels=8,
            positional_kernel=8,
            positional_groups=4,
            large=large,
            **relative,
        )
        teacher = UpstreamModel(shape).eval()
        config = _config(**changes, distillation=StageConfig(updates=2, warmup_updates=0, learning_rate=1e-3))
        student = DistillOnly(config).compress(teacher, audio, tmp_path, Context())["distill-only"]
        if config.params is not None:
            assert 0.99 * config.params <= _num_parameters(student) <= config.params
        elif config.target == "macs":
            assert 0.99 <= superb_macs(student.config).macs / (0.4 * superb_macs(shape).macs) <= 1
        elif config.student == "deep-thin":
            assert 0.985 <= _num_parameters(student) / (0.5 * _num_parameters(teacher)) <= 1.001
        assert (student.config.architecture, student.config.layer_norm_first) == (architecture, large)
        states, _ = student(torch.randn(1, 4000))
        assert all(state.isfinite().all() for state in states)

    @pytest.mark.slow
    @pytest.mark.parametrize("student", STUDENTS)
    def test_learns(self, audio: AudioSource, tmp_path: Path, student: str) -> None:
        stage = StageConfig(updates=100, warmup_updates=10, learning_rate=3e-3)
        config = _config(student=student, distillation=stage, log_updates=20, checkpoint_updates=100)
        DistillOnly(config).compress(tiny_teacher(), audio, tmp_path, Context())
        with (tmp_path / "beside" / "distill-only" / "training.csv").open(newline="") as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        assert losses[-1] < losses[0] - 0.3


class TestStudents:
    def test_distilhubert_is_the_published_one_by_shape(self) -> None:
        """23.49 M parameters, 785.9 G MACs; with its prediction heads 27,034,752, as measured on the original."""
        teacher = uninitialised(SHAPES["hubert_base"])
        config = _config(student="distilhubert")
        student = make_student(teacher, config, seed=0)
        assert _num_parameters(student) == 23_491_200
        assert superb_macs(student.config).macs_superb == pytest.approx(7.859231e11, rel=1e-6)
        heads = state_predictors(student, teacher, config)
        assert heads.layers == (4, 8, 12)
        assert _num_parameters(student) + sum(weight.numel() for weight in heads.parameters()) == 27_034_752

    def test_wide_shallow_has_three_layers_of_the_full_width(self) -> None:
        teacher = uninitialised(SHAPES["hubert_base"])
        student = make_student(teacher, _config(student="wide-shallow"), seed=0)
        assert round(_num_parameters(student) / 1e6, 2) == 30.58

    def test_deep_thin_keeps_the_extractor_unless_macs_count(self) -> None:
        teacher = tiny_teacher()
        for changes, channels in (
            ({"sparsity": 0.6}, 8),
            ({"sparsity": 0.6, "extractor": "thin"}, 4),
            ({"sparsity": 0.5, "target": "macs"}, 4),
            ({"sparsity": 0.3, "target": "macs", "extractor": "teacher"}, 8),
        ):
            student = make_student(teacher, _config(**changes), seed=0)
            assert student.config.conv_layers[0].channels == channels, changes

    @pytest.mark.parametrize(
        ("changes", "layers"),
        [
            ({}, (0, 1, 2, 3)),
            ({"student": "wide-shallow"}, (1, 2, 3)),
            ({"student": "distilhubert", "distillation_layers": [[0, 3], [1]]}, (0, 3, 1)),
            ({"distillation_layers": [[2], [3]]}, (2, 3)),
        ],
    )
    def test_learn_the_layers_asked_for(self, changes: dict[str, Any], layers: tuple[int, ...]) -> None:
        teacher, config = tiny_teacher(), _config(**changes)
        assert state_predictors(make_student(teacher, config, 0), teacher, config).layers == layers

    def test_deep_thin_has_a_projection_per_state_or_per_group(self) -> None:
        teacher = tiny_teacher()
        for projections, groups in (("per_layer", ((0,), (1,), (2,), (3,))), ("per_group", ((0,), (1, 2, 3)))):
            config = _config(projections=projections)
            assert state_predictors(make_student(teacher, config, 0), teacher, config).groups == groups


class TestOldSettings:
    def test_an_old_thin_student_shared_its_projections(self) -> None:
        now = DistillOnly.presets["mini"].model_dump(mode="json")
        old = {key: value for key, value in now.items() if key != "projections"}
        filled = with_later_settings("bench.compressors", "distill-only", old, "mini")
        assert filled == {**now, "projections": "per_group"}


class TestResume:
    @pytest.mark.parametrize("student", ["deep-thin", "distilhubert"])
    def test_interrupted_it_ends_in_the_same_model(self, speech_folder: Path, tmp_path: Path, student: str) -> None:
        compressor = DistillOnly(_config(student=student))
        assert_interruptions_change_nothing(compressor, ["distillation"], speech_folder, tmp_path)

    @pytest.mark.parametrize("changes", [{"student": "distilhubert"}, {"sparsity": 0.5}])
    def test_other_work_in_the_folder_is_refused(
        self, audio: AudioSource, tmp_path: Path, changes: dict[str, Any]
    ) -> None:
        DistillOnly(_config()).compress(tiny_teacher(), audio, tmp_path, Context())
        with pytest.raises(UserError, match=r"configuration differ.*another output folder"):
            DistillOnly(_config(**changes)).compress(tiny_teacher(), audio, tmp_path, Context())


class TestCheck:
    @pytest.mark.parametrize("student", STUDENTS)
    def test_accepts_what_works(self, audio: AudioSource, student: str) -> None:
        DistillOnly(_config(student=student)).check(tiny_teacher(), audio, Context())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"sparsity": 0.99}, r"deep and thin student meets within 1%"),
            ({"params": "94M"}, r"below the teacher's \d+ parameters. Found params=94000000"),
            ({"distillation_layers": [[0], [4]]}, r"to 3 \(the teacher's last\)"),
            ({"student": "distilhubert", "distillation_layers": [[4]]}, r"to 3 \(the teacher's last\)"),
            ({"min_duration_s": 60.0}, "at least 60 s"),
            ({"precision": "fp16"}, "precision=fp16"),
        ],
        ids=str,
    )
    def test_refuses_what_cannot_work(self, audio: AudioSource, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            DistillOnly(_config(**changes)).check(tiny_teacher(), audio, Context())

    def test_bf16_needs_units_for_it(self, audio: AudioSource, monkeypatch: pytest.MonkeyPatch) -> None:
        compressor = DistillOnly(_config(precision="bf16"))
        monkeypatch.setattr("compressors.training.precision.has_bf16_units", lambda device: True)
        compressor.check(tiny_teacher(), audio, Context())
        monkeypatch.setattr("compressors.training.precision.has_bf16_units", lambda device: False)
        with pytest.raises(UserError, match="precision=bf16"):
            compressor.check(tiny_teacher(), audio, Context())

    @pytest.mark.parametrize(("student", "num_layers"), [("distilhubert", 1), ("wide-shallow", 2)])
    def test_refuses_a_teacher_too_shallow(self, audio: AudioSource, student: str, num_layers: int) -> None:
        shape = TEACHER_SHAPE.model_copy(update={"layers": TEACHER_SHAPE.layers[:num_layers]})
        with pytest.raises(UserError, match=f"teacher of {num_layers + 1} layers or more.*Found {num_layers}"):
            DistillOnly(_config(student=student)).check(UpstreamModel(shape), audio, Context())


class TestBudget:
    """Students of a size of their own have no budget: it is neither taken nor recorded."""

    @pytest.mark.parametrize("student", ["distilhubert", "wide-shallow"])
    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"sparsity": 0.75}, "sparsity"),
            ({"params": "23M"}, "params"),
            ({"target": "macs", "sparsity": 0.5}, "sparsity, target"),
            ({"extractor": "thin"}, "extractor"),
        ],
    )
    def test_is_refused(self, student: str, changes: dict[str, Any], named: str) -> None:
        with pytest.raises(ValidationError, match=f"student={student} has a size of its own, and {named} cannot"):
            _config(student=student, **changes)

    @pytest.mark.parametrize("student", STUDENTS)
    def test_settings_survive_being_written_down(self, student: str) -> None:
        config = _config(student=student)
        assert DistillOnlyConfig.model_validate_json(config.model_dump_json()) == config
        assert ("sparsity" in config.model_dump()) == (student == "deep-thin")

    def _settings(self, *assignments: str) -> dict[str, Any]:
        return settings_of("distill-only", *assignments)["distill-only"]

    def test_on_the_command_line_only_what_was_typed_counts(self) -> None:
        assert self._settings()["sparsity"] == 0.75
        assert "sparsity" not in self._settings("student=distilhubert")
        with pytest.raises(UserError, match="In the settings of compressor distill-only: student=distilhubert has"):
            self._settings("student=distilhubert", "sparsity=0.75")

    def test_in_the_leaderboard_is_blank(self) -> None:
        for assignment, sparsity in (("student=distilhubert", None), ("student=deep-thin", 0.75)):
            provenance = {"teacher_params": 10**6, "recipe": self._settings(assignment)}
            assert model_card(tiny_teacher(), provenance).target_sparsity == sparsity


class TestPresets:
    def test_paper_is_the_published_recipe(self) -> None:
        """The numbers of DistilHuBERT's paper and of its recipe in s3prl."""
        paper = DistillOnly.presets["paper"]
        assert paper.student == "distilhubert"
        assert paper.distillation == StageConfig(updates=200_000, warmup_updates=14_000, learning_rate=2e-4)
        assert (paper.l1_weight, paper.l2_weight, paper.cosine_weight) == (1.0, 0.0, 1.0)
        assert paper.cosine == "log_sigmoid"
        assert paper.seconds_per_batch == pytest.approx(24 * 960 * 3600 / 281_241, abs=1)
        assert paper.max_duration_s * 16_000 == 250_000
        assert paper.max_gradient_norm == 5.0
        rates = {"projection": 0.0, "attention": 0.1, "feed_forward": 0.1, "hidden": 0.1, "layer": 0.0}
        assert paper.dropout.model_dump() == rates

    def test_the_thin_student_has_a_preset_of_the_same_recipe(self) -> None:
        thin = settings_of("distill-only", preset="paper-thin")
        assert thin["distill-only"]["student"] == "deep-thin"
        assert thin == settings_of("distill-only", "student=deep-thin", preset="paper")

    @pytest.mark.parametrize("preset", ["mini", "smoke"])
    def test_have_the_updates_and_batches_of_dphubert_s(self, preset: str) -> None:
        ours, other = DistillOnly.presets[preset], DPHuBERT.presets[preset]
        assert ours.distillation.updates == other.joint.updates + other.final.updates
        for field in (
            "seconds_per_batch",
            "accumulate_batches",
            "min_duration_s",
            "max_duration_s",
            "target",
            "sparsity",
        ):
            assert getattr(ours, field) == getattr(other, field)
