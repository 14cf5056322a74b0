"""DPHuBERT as a whole, on a tiny teacher and real files: both stages, resuming, the size reached, what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.upstream import UpstreamModel
from bench.upstream.checkpoint import weights_hash
from bench.upstream.config import uniform_config
from bench.upstream.cost import UNITS, count_dphubert_parameters, superb_macs
from compressors.dphubert.compressor import DPHuBERT
from compressors.dphubert.config import DPHuBERTConfig
from compressors.dphubert.joint_stage import JointDistillationPruning
from compressors.settings import StageConfig
from compressors.size.budget import budget_for
from compressors.size.pruning import largest_sparsity
from tests.helpers.method_checks import TEACHER_SHAPE, assert_kills_change_nothing, tiny_teacher


def _config(**changes: Any) -> DPHuBERTConfig:
    fields: dict[str, Any] = {
        "joint": StageConfig(updates=6, warmup_updates=2, learning_rate=1e-3),
        "final": StageConfig(updates=4, warmup_updates=1, learning_rate=1e-3),
        "sparsity": 0.6,
        "sparsity_warmup_updates": 2,
        "seconds_per_batch": 3.0,
        "max_duration_s": 1.5,
        "checkpoint_updates": 2,
        "log_updates": 2,
    }
    return DPHuBERTConfig.model_validate(fields | changes)


def _reached(model: UpstreamModel, original: UpstreamModel) -> float:
    return 1 - count_dphubert_parameters(model.config) / count_dphubert_parameters(original.config)


@pytest.fixture
def audio(speech_folder: Path) -> AudioSource:
    return AudioSource(root=speech_folder)


class TestCompress:
    def test_makes_one_smaller_working_model_of_the_target_size(self, audio: AudioSource, tmp_path: Path) -> None:
        teacher = tiny_teacher()
        before = weights_hash(teacher)
        models = DPHuBERT(_config()).compress(teacher, audio, tmp_path, Context())
        assert list(models) == ["dphubert"]
        student = models["dphubert"]
        target = 0.4 * count_dphubert_parameters(TEACHER_SHAPE)
        assert count_dphubert_parameters(student.config) == pytest.approx(target, rel=0.01)
        assert not student.training
        states, lengths = student(torch.randn(1, 4000))
        assert len(states) == 4
        assert states[-1].shape == (1, int(lengths[0]), 32)
        assert all(state.isfinite().all() for state in states)
        assert weights_hash(teacher) == before
        assert not teacher.training

    def test_leaves_history_and_projections_beside_the_model(self, audio: AudioSource, tmp_path: Path) -> None:
        DPHuBERT(_config()).compress(tiny_teacher(), audio, tmp_path, Context())
        beside = tmp_path / "beside" / "dphubert"
        projections = load_file(beside / "distillation_projections.safetensors")
        assert {key: tuple(value.shape) for key, value in projections.items()} == {
            f"{group}.{name}": shape for group in (0, 1) for name, shape in (("weight", (32, 32)), ("bias", (32,)))
        }
        assert not projections["1.weight"].equal(torch.eye(32))
        with (beside / "training.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["stage"], row["update"]) for row in rows] == [
            ("joint", "2"),
            ("joint", "4"),
            ("joint", "6"),
            ("final", "2"),
            ("final", "4"),
        ]
        assert float(rows[2]["target_sparsity"]) == pytest.approx(0.6)
        assert float(rows[2]["lambda2"]) > 0
        assert rows[4]["target_sparsity"] == ""

    def test_tells_what_the_automatic_schedule_answers_to(self, audio: AudioSource, tmp_path: Path) -> None:
        config = _config(
            schedule="auto", shrink=True, joint=StageConfig(updates=22, warmup_updates=2, learning_rate=1e-3)
        )
        student = DPHuBERT(config).compress(tiny_teacher(), audio, tmp_path, Context())["dphubert"]
        assert _reached(student, tiny_teacher()) == pytest.approx(0.6, abs=0.004)
        with (tmp_path / "beside" / "dphubert" / "training.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["stage"] == "joint"]
        assert float(rows[0]["target_sparsity"]) < float(rows[3]["target_sparsity"]) < 0.6
        assert float(rows[-1]["target_sparsity"]) == pytest.approx(0.6)
        assert float(rows[-1]["lambda2"]) != float(rows[0]["lambda2"])
        assert abs(float(rows[-1]["hardened_sparsity"]) - 0.6) < abs(float(rows[0]["hardened_sparsity"]) - 0.6)

    @pytest.mark.parametrize("schedule", ["fixed", "auto"])
    def test_self_pinching_gates_meet_the_target(self, audio: AudioSource, tmp_path: Path, schedule: str) -> None:
        config = _config(gates="self_pinching", schedule=schedule)
        student = DPHuBERT(config).compress(tiny_teacher(), audio, tmp_path, Context())["dphubert"]
        assert _reached(student, tiny_teacher()) == pytest.approx(0.6, abs=0.004)
        state = torch.load(tmp_path / "joint.ckpt", weights_only=True)["state_dict"]
        gates = {key.rsplit(".", 1)[1]: value for key, value in state.items() if "gates." in key}
        assert gates["offset"].shape == ()
        assert "log_alpha" not in gates

    def test_the_same_seed_gives_the_same_model_and_another_another(self, audio: AudioSource, tmp_path: Path) -> None:
        hashes = []
        for run, seed in enumerate((1, 1, 2)):
            torch.manual_seed(run)
            models = DPHuBERT(_config()).compress(tiny_teacher(), audio, tmp_path / str(run), Context(seed=seed))
            hashes.append(weights_hash(models["dphubert"]))
        assert hashes[0] == hashes[1] != hashes[2]

    def test_a_finished_call_is_answered_at_once(
        self, audio: AudioSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = DPHuBERT(_config()).compress(tiny_teacher(), audio, tmp_path, Context())["dphubert"]
        monkeypatch.setattr(UpstreamModel, "distillation_states", None)
        second = DPHuBERT(_config()).compress(tiny_teacher(), audio, tmp_path, Context())["dphubert"]
        assert weights_hash(first) == weights_hash(second)

    @pytest.mark.parametrize("units", [["head", "interm"], ["conv", "head", "interm", "attlayer", "ffnlayer"]])
    def test_prunes_the_chosen_units_alone(self, audio: AudioSource, tmp_path: Path, units: list[str]) -> None:
        config = _config(units=units, sparsity=0.4)
        student = DPHuBERT(config).compress(tiny_teacher(), audio, tmp_path, Context())["dphubert"]
        assert _reached(student, tiny_teacher()) == pytest.approx(0.4, abs=0.006)
        channels = {layer.channels for layer in student.config.conv_layers}
        assert (channels == {8}) == ("conv" not in units)

    @pytest.mark.parametrize(
        ("architecture", "large", "budget"),
        [
            ("hubert", False, {"sparsity": 0.4, "target": "macs"}),
            ("hubert", True, {"params": "11k"}),
            ("wav2vec2", False, {"params": "0.01M"}),
            ("wav2vec2", True, {"sparsity": 0.5, "target": "macs"}),
            ("wavlm", False, {"sparsity": 0.5, "target": "macs"}),
            ("wavlm", True, {"params": "11k"}),
            ("wavlm", True, {"sparsity": 0.4}),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("units", [["conv", "head", "interm"], list(UNITS)], ids=len)
    def test_every_kind_of_teacher_meets_every_kind_of_budget(
        self, audio: AudioSource, tmp_path: Path, architecture: Any, large: bool, budget: dict[str, Any], units: Any
    ) -> None:
        torch.manual_seed(0)
        shape = uniform_config(architecture, 32, 2, 4, 48, conv_channels=8, positional_kernel=16, large=large)
        config = _config(units=units, **budget)
        student = DPHuBERT(config).compress(UpstreamModel(shape).eval(), audio, tmp_path, Context())["dphubert"]
        size, wanted = 0, 0.0
        if config.params is not None:
            size, wanted = sum(parameter.numel() for parameter in student.parameters()), config.params
        elif config.target == "macs":
            size, wanted = superb_macs(student.config).macs, (1 - config.final_sparsity) * superb_macs(shape).macs
        else:
            size, wanted = count_dphubert_parameters(student.config), 0.6 * count_dphubert_parameters(shape)
        assert 0.99 * wanted <= size <= wanted + 1
        states, _ = student(torch.randn(1, 4000))
        assert all(state.isfinite().all() for state in states)

    def test_units_too_coarse_for_the_budget_are_told(
        self, audio: AudioSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        config = _config(units=["attlayer", "ffnlayer"], sparsity=0.2)
        student = DPHuBERT(config).compress(tiny_teacher(), audio, tmp_path, Context())["dphubert"]
        kept = [(len(layer.heads), layer.feed_forward) for layer in student.config.layers]
        assert {heads for heads, _ in kept} <= {0, 4}
        assert {width for _, width in kept} <= {0, 48}
        assert _reached(student, tiny_teacher()) > 0.202
        assert "units attlayer, ffnlayer" in caplog.text

    def test_follows_the_reference_rule_on_request(self, audio: AudioSource, tmp_path: Path) -> None:
        """So few updates leave the gates open: the reference's own rule then prunes far less than asked."""
        config = _config(threshold="reference")
        student = DPHuBERT(config).compress(tiny_teacher(), audio, tmp_path, Context())["dphubert"]
        assert _reached(student, tiny_teacher()) < 0.3

    @pytest.mark.slow
    def test_both_stages_learn(self, audio: AudioSource, tmp_path: Path) -> None:
        config = _config(
            joint=StageConfig(updates=150, warmup_updates=15, learning_rate=3e-3),
            final=StageConfig(updates=60, warmup_updates=6, learning_rate=3e-3),
            gate_learning_rate=0.2,
            initial_quadratic_multiplier=10.0,
            sparsity_warmup_updates=60,
            log_updates=10,
            checkpoint_updates=500,
        )
        DPHuBERT(config).compress(tiny_teacher(), audio, tmp_path, Context())
        with (tmp_path / "beside" / "dphubert" / "training.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        joint = [row for row in rows if row["stage"] == "joint"]
        final = [float(row["loss"]) for row in rows if row["stage"] == "final"]
        assert float(joint[-1]["expected_sparsity"]) == pytest.approx(0.6, abs=0.05)
        assert final[-1] < final[0] - 0.02

    @pytest.mark.real_speech
    def test_real_speech(self, real_speech: Path, tmp_path: Path) -> None:
        source = AudioSource(layout="librispeech", root=real_speech / "librispeech", splits=("train-clean-100",))
        student = DPHuBERT(_config()).compress(tiny_teacher(), source, tmp_path, Context())["dphubert"]
        assert _reached(student, tiny_teacher()) == pytest.approx(0.6, abs=0.004)


class TestPositionBias:
    @pytest.mark.parametrize("is_kept", [True, False])
    def test_of_wavlm_outlives_layer_0_s_attention_if_wanted(self, is_kept: bool) -> None:
        shape = uniform_config("wavlm", 32, 3, 4, 48, conv_channels=8, positional_kernel=16)
        torch.manual_seed(0)
        config = _config(units=["attlayer", "interm"], sparsity=0.4, keep_position_bias=is_kept)
        joint = JointDistillationPruning(UpstreamModel(shape).eval(), config)
        torch.nn.init.constant_(joint.gates.get_parameter("attlayer/0.log_alpha"), -60.0)
        for index in (1, 2):
            torch.nn.init.constant_(joint.gates.get_parameter(f"attlayer/{index}.log_alpha"), 60.0)
        student = joint.pruned().student
        assert [len(layer.heads) for layer in student.config.layers] == [0, 4, 4]
        assert (student.position_bias is not None) == is_kept
        assert _reached(student, UpstreamModel(shape)) == pytest.approx(0.4, abs=0.006)


class TestLastChannel:
    def test_no_convolution_falls_silent_while_gates_close(self) -> None:
        """Stage 1 under a pressure that closes whole convolutions, whose gates have a common learning rate."""
        shape = uniform_config("wav2vec2", 32, 2, 4, 48, conv_channels=8, positional_kernel=16, large=True)
        torch.manual_seed(0)
        config = _config(
            units=["conv"], sparsity=0.1, gate_learning_rate=0.5, initial_quadratic_multiplier=1e3, target="macs"
        )
        largest = largest_sparsity(shape, budget_for(config, shape), config)
        joint = JointDistillationPruning(
            UpstreamModel(shape).eval(), config.model_copy(update={"sparsity": largest - 1e-3})
        )
        optimizer = torch.optim.AdamW(joint.parameter_groups(1e-3))
        for update in range(40):
            loss: Any = joint(torch.randn(1, 4000), update)["loss"]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(joint.parameters(), 10.0, error_if_nonfinite=True)
            optimizer.step()
            optimizer.zero_grad()
        closing = [float(gate.expected_open().detach()) for gate in joint.gates.values()]  # type: ignore[operator]
        assert min(closing) < 0.1
        for _ in range(5):
            states, _ = joint.distillation.student.distillation_states(torch.randn(1, 4000))
            assert states[0][0].std(0).max() > 1e-4
        channels = [layer.channels for layer in joint.pruned().student.config.conv_layers]
        assert min(channels) == 1


class TestResume:
    @pytest.mark.slow
    @pytest.mark.parametrize("schedule", ["fixed", "auto"])
    def test_killed_at_any_moment_it_ends_in_the_same_model(
        self, speech_folder: Path, tmp_path: Path, schedule: str
    ) -> None:
        config = _config(
            schedule=schedule,
            joint=StageConfig(updates=40, warmup_updates=2, learning_rate=1e-3),
            final=StageConfig(updates=40, warmup_updates=2, learning_rate=1e-3),
        )
        assert_kills_change_nothing(DPHuBERT(config), ("joint", "final"), speech_folder, tmp_path)

    @pytest.mark.parametrize(
        ("changes", "seed", "teacher_seed", "difference"),
        [
            ({"sparsity": 0.5}, 0, 0, "configuration"),
            ({"target": "macs"}, 0, 0, "configuration"),
            ({}, 1, 0, "seed"),
            ({}, 0, 1, "teacher"),
        ],
    )
    def test_other_work_in_the_folder_is_refused(
        self, audio: AudioSource, tmp_path: Path, changes: dict[str, Any], seed: int, teacher_seed: int, difference: str
    ) -> None:
        DPHuBERT(_config()).compress(tiny_teacher(), audio, tmp_path, Context())
        with pytest.raises(UserError, match=f"{difference} differ.*another output folder"):
            DPHuBERT(_config(**changes)).compress(tiny_teacher(teacher_seed), audio, tmp_path, Context(seed=seed))


class TestCheck:
    def test_accepts_what_works(self, audio: AudioSource) -> None:
        DPHuBERT(_config()).check(tiny_teacher(), audio, Context())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"sparsity": 0.99}, r"at most 0\.\d+ of this teacher's parameters. Found 0.99"),
            ({"sparsity": 0.99, "target": "macs"}, r"at most 0\.\d+ of this teacher's MACs. Found 0.99"),
            ({"params": "1k"}, r"at least \d+ parameters for this teacher. Found params=1000"),
            ({"params": "94M"}, r"below the teacher's \d+ parameters. Found params=94000000"),
            ({"distillation_layers": [[0], [4]]}, r"to 3 \(the teacher's last\)"),
            ({"min_duration_s": 60.0}, "at least 60 s"),
        ],
    )
    def test_refuses_what_cannot_work(self, audio: AudioSource, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            DPHuBERT(_config(**changes)).check(tiny_teacher(), audio, Context())

    @pytest.mark.parametrize(("precision", "has_units"), [("bf16", False), ("fp16", False), ("fp16", True)])
    def test_mixed_precision_needs_units_for_it(
        self, audio: AudioSource, precision: str, has_units: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("compressors.training.precision.has_bf16_units", lambda device: has_units)
        with pytest.raises(UserError, match=f"precision={precision}"):
            DPHuBERT(_config(precision=precision)).check(tiny_teacher(), audio, Context())

    def test_bf16_works_where_the_cpu_has_units(self, audio: AudioSource, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("compressors.training.precision.has_bf16_units", lambda device: True)
        DPHuBERT(_config(precision="bf16")).check(tiny_teacher(), audio, Context())

    @pytest.mark.parametrize(
        "changes", [{"sparsity": 0.0}, {"sparsity": 1.0}, {"units": ["neuron"]}, {"units": []}, {"sparsty": 0.5}]
    )
    def test_the_schema_refuses_wrong_values(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            _config(**changes)

    def test_a_warm_up_longer_than_the_stage_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="warmup_updates 5 must be below updates 5"):
            StageConfig(updates=5, warmup_updates=5, learning_rate=1e-3)


class TestPresets:
    def test_paper_is_the_published_recipe(self) -> None:
        """The numbers of run.sh and section 4.1 of the paper."""
        paper = DPHuBERT.presets["paper"]
        assert paper.joint == StageConfig(updates=50_000, warmup_updates=15_000, learning_rate=2e-4)
        assert paper.final == StageConfig(updates=25_000, warmup_updates=5_000, learning_rate=1e-4)
        assert (paper.sparsity, paper.sparsity_warmup_updates, paper.gate_learning_rate) == (0.75, 5000, 0.02)
        assert (paper.multiplier_learning_rate, paper.initial_quadratic_multiplier) == (0.02, 0.0)
        assert (paper.target, paper.params) == ("params", None)
        assert (paper.expected_size, paper.keep_position_bias) == ("reference", False)
        assert paper.units == ("conv", "head", "interm")
        assert (paper.seconds_per_batch, paper.accumulate_batches) == (160.0, 4)
        assert (paper.min_duration_s, paper.max_duration_s) == (2.0, 15.625)
        assert (paper.l1_weight, paper.l2_weight, paper.cosine_weight, paper.cosine) == (1.0, 0.0, 1.0, "raw")
        assert (paper.max_gradient_norm, paper.precision, paper.threshold) == (10.0, "auto", "reference")
        rates = {"projection": 0.1, "attention": 0.1, "feed_forward": 0.0, "hidden": 0.1, "layer": 0.0}
        assert paper.dropout.model_dump() == rates

    def test_the_others_meet_the_target_size(self) -> None:
        assert {DPHuBERT.presets[name].threshold for name in ("mini", "smoke")} == {"target"}
