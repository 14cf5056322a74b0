"""prune-only as a whole, on tiny models and real files: every importance, steps, resuming, what is refused."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from bench.config.later_settings import with_later_settings
from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.stacking import compressor_type
from bench.upstream import UpstreamModel, save_upstream
from bench.upstream.checkpoint import weights_hash
from bench.upstream.config import uniform_config
from bench.upstream.cost import UNITS, count_dphubert_parameters, kept_units, superb_macs
from bench.upstream.pruning import prune, pruned_config
from compressors.dphubert.compressor import DPHuBERT
from compressors.prune_only.allocation import global_masks, uniform_masks
from compressors.prune_only.compressor import PruneOnly
from compressors.prune_only.config import MINI, PruneOnlyConfig
from compressors.prune_only.importance import magnitude_scores
from compressors.settings import StageConfig
from compressors.size.budget import budget_for
from tests.helpers.method_checks import TEACHER_SHAPE, assert_interruptions_change_nothing, tiny_teacher


def _config(**changes: Any) -> PruneOnlyConfig:
    fields: dict[str, Any] = {
        "head": StageConfig(updates=4, warmup_updates=1, learning_rate=1e-2),
        "recovery": StageConfig(updates=4, warmup_updates=1, learning_rate=1e-3),
        "sparsity": 0.6,
        "taylor_batches": 2,
        "num_clusters": 5,
        "kmeans_share": 1.0,
        "projection_dim": 8,
        "seconds_per_batch": 3.0,
        "max_duration_s": 1.5,
        "checkpoint_updates": 2,
        "log_updates": 2,
    }
    return PruneOnlyConfig.model_validate(fields | changes)


def _rows(workdir: Path) -> list[dict[str, str]]:
    with (workdir / "beside" / "prune-only" / "training.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def audio(speech_folder: Path) -> AudioSource:
    return AudioSource(root=speech_folder)


class TestOldSettings:
    """``rescale`` was a setting of earlier versions, false in every preset."""

    @pytest.mark.parametrize("compressor", ["prune-only", "prune-only+int8"])
    def test_a_gone_setting_at_its_default_changes_nothing(self, compressor: str) -> None:
        now = compressor_type(compressor).presets["mini"].model_dump(mode="json")
        old = copy.deepcopy(now)
        old.get("prune-only", old)["rescale"] = False
        assert with_later_settings("bench.compressors", compressor, old, "mini") == now

    def test_another_value_is_kept_for_the_comparison_to_name(self) -> None:
        old = MINI.model_dump(mode="json") | {"rescale": True}
        assert with_later_settings("bench.compressors", "prune-only", old, "mini")["rescale"] is True


class TestCompress:
    @pytest.mark.parametrize(
        ("importance", "pruning_steps"), [("l1", 1), ("l2", 2), ("clusters", 1), ("taylor", 2), ("random", 1)]
    )
    def test_makes_one_smaller_working_model_of_the_target_size(
        self, audio: AudioSource, tmp_path: Path, importance: str, pruning_steps: int
    ) -> None:
        teacher = tiny_teacher()
        before = weights_hash(teacher)
        config = _config(importance=importance, pruning_steps=pruning_steps)
        models = PruneOnly(config).compress(teacher, audio, tmp_path, Context())
        assert list(models) == ["prune-only"]
        model = models["prune-only"]
        target = 0.4 * count_dphubert_parameters(TEACHER_SHAPE)
        assert 0.99 * target <= count_dphubert_parameters(model.config) <= target + 1
        assert not any(module.training for module in model.modules())
        assert all(parameter.requires_grad for parameter in model.parameters())
        states, lengths = model(torch.randn(1, 4000))
        assert states[-1].shape == (1, int(lengths[0]), 32)
        assert all(state.isfinite().all() for state in states)
        assert weights_hash(teacher) == before
        assert not teacher.training
        stages = ["head", "head"] + [f"recovery-{step + 1}" for step in range(pruning_steps)] * (2 // pruning_steps)
        assert [row["stage"] for row in _rows(tmp_path)] == stages

    def test_without_recovery_the_weights_are_the_teacher_s(self, audio: AudioSource, tmp_path: Path) -> None:
        config = _config(importance="l1", recovery=None)
        teacher = tiny_teacher()
        model = PruneOnly(config).compress(teacher, audio, tmp_path, Context())["prune-only"]
        scores = magnitude_scores(teacher, config.units, "l1")
        masks = uniform_masks(scores, TEACHER_SHAPE, budget_for(config, TEACHER_SHAPE), config)
        assert weights_hash(model) == weights_hash(prune(teacher, masks))
        assert not (tmp_path / "units").exists()
        assert not (tmp_path / "beside").exists()

    def test_taylor_without_recovery_fits_a_head_and_leaves_the_weights(
        self, audio: AudioSource, tmp_path: Path
    ) -> None:
        config = _config(units=["interm"], sparsity=0.1, recovery=None)
        model = PruneOnly(config).compress(tiny_teacher(), audio, tmp_path, Context())["prune-only"]
        assert {row["stage"] for row in _rows(tmp_path)} == {"head"}
        own, teacher_s = model.state_dict(), tiny_teacher().state_dict()
        untouched = [key for key in own if "feed_forward" not in key]
        assert untouched
        assert all(own[key].equal(teacher_s[key]) for key in untouched)

    def test_each_step_prunes_further_and_recovers(self, audio: AudioSource, tmp_path: Path) -> None:
        recovery = StageConfig(updates=6, warmup_updates=3, learning_rate=1e-3)
        config = _config(importance="l2", pruning_steps=3, recovery=recovery)
        PruneOnly(config).compress(tiny_teacher(), audio, tmp_path, Context())
        sizes = []
        for step in (1, 2, 3):
            state = torch.load(tmp_path / f"recovery-{step}.ckpt", weights_only=True)["state_dict"]
            sizes.append(sum(value.numel() for key, value in state.items() if ".upstream." in key))
        original = sum(value.numel() for value in tiny_teacher().state_dict().values())
        removed = [(original - size) / original for size in sizes]
        assert removed == pytest.approx([0.2, 0.4, 0.6], abs=0.01)
        assert [row["stage"] for row in _rows(tmp_path)[2:]] == ["recovery-1", "recovery-2", "recovery-3"]

    @pytest.mark.parametrize(
        ("architecture", "large", "budget"),
        [
            ("hubert", False, {"sparsity": 0.4, "target": "macs"}),
            ("hubert", True, {"params": "11k"}),
            ("wav2vec2", False, {"params": "0.01M"}),
            ("wav2vec2", True, {"sparsity": 0.5, "target": "macs"}),
            ("wavlm", False, {"sparsity": 0.5, "target": "macs"}),
            ("wavlm", True, {"params": "11k"}),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("units", [["conv", "head", "interm"], list(UNITS)], ids=len)
    def test_every_kind_of_teacher_meets_every_kind_of_budget(
        self, audio: AudioSource, tmp_path: Path, architecture: Any, large: bool, budget: dict[str, Any], units: Any
    ) -> None:
        torch.manual_seed(0)
        shape = uniform_config(architecture, 32, 2, 4, 48, conv_channels=8, positional_kernel=16, large=large)
        config = _config(units=units, recovery=None, pruning_steps=2, **budget)
        model = PruneOnly(config).compress(UpstreamModel(shape).eval(), audio, tmp_path, Context())["prune-only"]
        if config.params is not None:
            size, wanted = sum(parameter.numel() for parameter in model.parameters()), float(config.params)
        else:
            size, wanted = superb_macs(model.config).macs, (1 - config.sparsity) * superb_macs(shape).macs
        assert 0.99 * wanted <= size <= wanted + 1
        states, _ = model(torch.randn(1, 4000))
        assert all(state.isfinite().all() for state in states)

    def test_prunes_the_chosen_units_alone(self, audio: AudioSource, tmp_path: Path) -> None:
        config = _config(units=["head", "interm"], sparsity=0.4, importance="l1", recovery=None)
        model = PruneOnly(config).compress(tiny_teacher(), audio, tmp_path, Context())["prune-only"]
        assert kept_units(model.config)["conv"] == kept_units(TEACHER_SHAPE)["conv"]
        assert model.config.layers != TEACHER_SHAPE.layers

    def test_units_too_coarse_for_the_budget_are_told(
        self, audio: AudioSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        config = _config(units=["ffnlayer"], sparsity=0.1, importance="l1", recovery=None)
        PruneOnly(config).compress(tiny_teacher(), audio, tmp_path, Context())
        assert "units ffnlayer" in caplog.text

    def test_the_same_seed_gives_the_same_model_and_another_another(self, audio: AudioSource, tmp_path: Path) -> None:
        hashes = []
        for run, seed in enumerate((1, 1, 2)):
            torch.manual_seed(run)
            models = PruneOnly(_config()).compress(tiny_teacher(), audio, tmp_path / str(run), Context(seed=seed))
            hashes.append(weights_hash(models["prune-only"]))
        assert hashes[0] == hashes[1] != hashes[2]

    @pytest.mark.slow
    def test_recovery_learns(self, audio: AudioSource, tmp_path: Path) -> None:
        config = _config(
            recovery=StageConfig(updates=150, warmup_updates=15, learning_rate=3e-3),
            log_updates=25,
            checkpoint_updates=500,
        )
        PruneOnly(config).compress(tiny_teacher(), audio, tmp_path, Context())
        losses = [float(row["masked_loss"]) for row in _rows(tmp_path) if row["stage"] == "recovery-1"]
        assert losses[-1] < losses[0] - 0.1

    @pytest.mark.real_speech
    def test_real_speech(self, real_speech: Path, tmp_path: Path) -> None:
        source = AudioSource(layout="librispeech", root=real_speech / "librispeech", splits=("train-clean-100",))
        model = PruneOnly(_config()).compress(tiny_teacher(), source, tmp_path, Context())["prune-only"]
        target = 0.4 * count_dphubert_parameters(TEACHER_SHAPE)
        assert count_dphubert_parameters(model.config) == pytest.approx(target, rel=0.01)


class TestUnits:
    def test_are_those_of_the_model_s_own_layer_at_three_quarters_of_its_depth(
        self, audio: AudioSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path / "cache"))
        PruneOnly(_config(importance="l1")).compress(tiny_teacher(), audio, tmp_path / "own", Context())
        (identity,) = (json.loads(path.read_text()) for path in (tmp_path / "cache").rglob("identity.json"))
        assert (identity["layer"], identity["num_clusters"]) == (2, 5)
        assert identity["teacher"] == weights_hash(tiny_teacher())
        assert not (tmp_path / "own" / "units").exists()

    def test_of_mfccs_need_no_model(self, audio: AudioSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path / "cache"))
        config = _config(importance="l1", unit_source="mfcc")
        PruneOnly(config).compress(tiny_teacher(), audio, tmp_path / "mfcc", Context())
        assert (tmp_path / "mfcc" / "units" / "centroids.npy").exists()
        assert not list((tmp_path / "cache").rglob("centroids.npy"))
        assert not {"cluster_layer", "kmeans_seed"} & set(config.model_dump())

    def test_of_an_old_run_were_those_of_mfccs(self) -> None:
        now = PruneOnly.presets["mini"].model_dump(mode="json")
        new = {"unit_source", "allocation", "cluster_layer", "kmeans_seed"}
        old = {key: value for key, value in now.items() if key not in new}
        filled = with_later_settings("bench.compressors", "prune-only", old, "mini")
        assert filled == {**old, "unit_source": "mfcc", "allocation": "uniform"}


class TestAllocation:
    def test_as_a_model_keeps_its_widths_and_the_most_important_units(self, audio: AudioSource, tmp_path: Path) -> None:
        wide, narrow = tiny_teacher(), tmp_path / "narrow"
        masks = {"head/1": torch.tensor([0, 1, 0, 0]), "interm/0": torch.arange(48) < 7, "conv/3": torch.arange(8) < 5}
        other = prune(wide, masks)
        save_upstream(other, narrow, {})
        sparsity = 1 - count_dphubert_parameters(other.config) / count_dphubert_parameters(TEACHER_SHAPE)
        config = _config(
            allocation=f"as:{narrow}", sparsity=round(sparsity, 4), importance="l2", recovery=None, pruning_steps=2
        )
        compressor = PruneOnly(config)
        compressor.check(wide, audio, Context())
        model = compressor.compress(wide, audio, tmp_path / "work", Context())["prune-only"]
        assert kept_units(model.config) == kept_units(other.config)
        best = magnitude_scores(wide, ["head"], "l2")["head/1"].argmax()
        assert model.config.layers[1].heads == (int(best),)

    @pytest.mark.parametrize(
        ("reference", "changes", "message"),
        [
            ("random:hubert_base", {}, "allocation=as:random:hubert_base.*another kind of model"),
            ("fbank", {}, "allocation=as:fbank, which has no layers"),
            ("{narrow}", {"sparsity": 0.6}, r"Found 0\.\d+. Set sparsity=0"),
            ("{narrow}", {"units": ["conv", "interm"], "sparsity": 0.05}, "widths of head"),
            ("no/such/model", {}, "no/such/model"),
        ],
    )
    def test_as_a_model_that_does_not_fit_is_refused(
        self, audio: AudioSource, tmp_path: Path, reference: str, changes: dict[str, Any], message: str
    ) -> None:
        save_upstream(prune(tiny_teacher(), {"head/1": torch.tensor([0, 1, 0, 0])}), tmp_path / "narrow", {})
        named = reference.format(narrow=tmp_path / "narrow")
        with pytest.raises(UserError, match=message) as refused:
            PruneOnly(_config(allocation=f"as:{named}", **changes)).check(tiny_teacher(), audio, Context())
        assert len(str(refused.value)) < 400

    def test_global_removes_the_units_that_cost_most_for_their_importance(self) -> None:
        shape = TestAllocation.SHAPE
        config = PruneOnlyConfig.model_validate(_config().model_dump() | {"units": ["head", "interm"], "sparsity": 0.5})
        scores = {
            f"{unit}/{index}": torch.ones(count)
            for unit in ("head", "interm")
            for index, count in enumerate(kept_units(shape)[unit])
        }
        budget = budget_for(config, shape)
        kept = kept_units(pruned_config(shape, global_masks(scores, shape, budget, config, "taylor")))
        # Equal losses: a head has 128 times the weights of a feed-forward unit, so heads go first.
        assert sum(kept["head"]) == 0
        assert sum(kept["interm"]) > 0
        size = budget.measure(pruned_config(shape, global_masks(scores, shape, budget, config, "taylor")))
        assert 0.99 * budget.wanted <= size <= budget.wanted

    def test_global_makes_a_model_of_the_target_size(self, audio: AudioSource, tmp_path: Path) -> None:
        config = _config(allocation="global", pruning_steps=2)
        model = PruneOnly(config).compress(tiny_teacher(), audio, tmp_path, Context())["prune-only"]
        target = 0.4 * count_dphubert_parameters(TEACHER_SHAPE)
        assert 0.99 * target <= count_dphubert_parameters(model.config) <= target + 1

    def test_settings_that_the_others_do_not_use_are_not_stored(self) -> None:
        by_importance = {each: "taylor_batches" in _config(importance=each).model_dump() for each in ("taylor", "l2")}
        assert by_importance == {"taylor": True, "l2": False}
        by_allocation = {each: "round_to" in _config(allocation=each).model_dump() for each in ("global", "as:model")}
        assert by_allocation == {"global": True, "as:model": False}

    def test_several_sizes_cannot_copy_one(self) -> None:
        with pytest.raises(ValidationError, match="has one size"):
            _config(allocation="as:model", sparsity=[0.5, 0.6])

    SHAPE = uniform_config("hubert", 128, 12, 4, 512, conv_channels=48)


class TestResume:
    def test_a_finished_call_is_answered_at_once(
        self, audio: AudioSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = PruneOnly(_config()).compress(tiny_teacher(), audio, tmp_path, Context())["prune-only"]
        monkeypatch.setattr(UpstreamModel, "extract", None)
        second = PruneOnly(_config()).compress(tiny_teacher(), audio, tmp_path, Context())["prune-only"]
        assert weights_hash(first) == weights_hash(second)

    def test_interrupted_it_ends_in_the_same_model(self, speech_folder: Path, tmp_path: Path) -> None:
        config = _config(
            recovery=StageConfig(updates=8, warmup_updates=2, learning_rate=1e-3),
            pruning_steps=2,
        )
        stages = ["head", "recovery-1", "recovery-2"]
        assert_interruptions_change_nothing(PruneOnly(config), stages, speech_folder, tmp_path)

    def test_other_work_in_the_folder_is_refused(self, audio: AudioSource, tmp_path: Path) -> None:
        fields = {"importance": "l1", "recovery": None}
        PruneOnly(_config(**fields)).compress(tiny_teacher(), audio, tmp_path, Context())
        with pytest.raises(UserError, match=r"configuration differ.*another output folder"):
            PruneOnly(_config(**fields, sparsity=0.5)).compress(tiny_teacher(), audio, tmp_path, Context())


class TestCheck:
    def test_accepts_what_works(self, audio: AudioSource) -> None:
        PruneOnly(_config()).check(tiny_teacher(), audio, Context())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"sparsity": 0.99}, r"at most 0\.\d+ of this teacher's parameters. Found 0.99"),
            ({"sparsity": 0.99, "target": "macs"}, r"at most 0\.\d+ of this teacher's MACs. Found 0.99"),
            ({"params": "1k"}, r"at least \d+ parameters for this teacher. Found params=1000"),
            ({"params": "94M"}, r"below the teacher's \d+ parameters. Found params=94000000"),
            ({"min_duration_s": 60.0}, "at least 60 s"),
            ({"precision": "fp16"}, "precision=fp16"),
        ],
    )
    def test_refuses_what_cannot_work(self, audio: AudioSource, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            PruneOnly(_config(**changes)).check(tiny_teacher(), audio, Context())

    def test_bf16_needs_units_for_it(self, audio: AudioSource, monkeypatch: pytest.MonkeyPatch) -> None:
        compressor = PruneOnly(_config(precision="bf16"))
        monkeypatch.setattr("compressors.training.precision.has_bf16_units", lambda device: True)
        compressor.check(tiny_teacher(), audio, Context())
        monkeypatch.setattr("compressors.training.precision.has_bf16_units", lambda device: False)
        with pytest.raises(UserError, match="precision=bf16"):
            compressor.check(tiny_teacher(), audio, Context())

    def test_more_clusters_than_frames_are_refused(self, audio: AudioSource, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"Expected at least 20000 frames"):
            PruneOnly(_config(num_clusters=20_000)).compress(tiny_teacher(), audio, tmp_path, Context())

    @pytest.mark.parametrize(
        "changes",
        [
            {"importance": "l3"},
            {"importance": "clusters", "units": ["interm", "attlayer"]},
            {"allocation": "same"},
            {"unit_source": "theirs"},
            {"pruning_steps": 0},
            {"units": ["neuron"]},
            {"pruning_steps": 5},
            {"sparsty": 0.5},
        ],
    )
    def test_the_schema_refuses_wrong_values(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            _config(**changes)


class TestPresets:
    @pytest.mark.parametrize("preset", ["paper", "mini", "smoke"])
    def test_have_dphubert_s_updates_batches_and_units(self, preset: str) -> None:
        ours, theirs = PruneOnly.presets[preset], DPHuBERT.presets[preset]
        assert ours.recovery is not None
        assert ours.head.updates + ours.recovery.updates == theirs.joint.updates + theirs.final.updates
        for field in ("units", "sparsity", "seconds_per_batch", "accumulate_batches", "max_duration_s", "dropout"):
            assert getattr(ours, field) == getattr(theirs, field), field


def test_parts_of_a_stage_add_up_to_it() -> None:
    stage = StageConfig(updates=100, warmup_updates=17, learning_rate=1e-3)
    assert stage.part(1, 1) == stage
    for num_parts in (2, 3, 7, 100):
        parts = [stage.part(part, num_parts) for part in range(1, num_parts + 1)]
        assert sum(part.updates for part in parts) == 100
        assert max(part.updates for part in parts) - min(part.updates for part in parts) <= 1
        assert {part.learning_rate for part in parts} == {1e-3}
