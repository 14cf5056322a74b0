"""Several sizes in one call: their names, their sizes, what they share, and what is refused."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from bench.contracts import AudioSource, Context
from bench.upstream import UpstreamModel, weights_hash
from bench.upstream.cost import count_dphubert_parameters
from compressors.distill_only import DistillOnlyConfig
from compressors.dphubert.compressor import DPHuBERT
from compressors.dphubert.config import MINI, DPHuBERTConfig
from compressors.prune_only.compressor import PruneOnly
from compressors.prune_only.config import PruneOnlyConfig
from compressors.settings import StageConfig
from tests.helpers.method_checks import TEACHER_SHAPE, assert_interruptions_change_nothing, tiny_teacher

SIZES = (0.2, 0.35)
SHARED = {"seconds_per_batch": 3.0, "max_duration_s": 1.5, "checkpoint_updates": 2, "log_updates": 2}


def stage(updates: int) -> StageConfig:
    return StageConfig(updates=updates, warmup_updates=2, learning_rate=1e-3)


def dphubert(**changes: Any) -> DPHuBERTConfig:
    fields = {"joint": stage(8), "final": stage(6), "sparsity": SIZES, "sparsity_warmup_updates": 4}
    return DPHuBERTConfig.model_validate(SHARED | fields | changes)


def prune_only(**changes: Any) -> PruneOnlyConfig:
    fields = {"head": stage(4), "recovery": stage(8), "sparsity": SIZES, "pruning_steps": 2, "importance": "l2"}
    clusters = {"num_clusters": 5, "kmeans_share": 1.0, "projection_dim": 8}
    return PruneOnlyConfig.model_validate(SHARED | fields | clusters | changes)


def reached(model: UpstreamModel) -> float:
    return 1 - count_dphubert_parameters(model.config) / count_dphubert_parameters(TEACHER_SHAPE)


def is_part_of(smaller: UpstreamModel, larger: UpstreamModel) -> bool:
    return all(
        set(ours.heads) <= set(theirs.heads) and ours.feed_forward <= theirs.feed_forward
        for ours, theirs in zip(smaller.config.layers, larger.config.layers, strict=True)
    ) and all(
        ours.channels <= theirs.channels
        for ours, theirs in zip(smaller.config.conv_layers, larger.config.conv_layers, strict=True)
    )


def stages_of(workdir: Path, model: str) -> list[str]:
    with (workdir / "beside" / model / "training.csv").open(newline="") as file:
        return list(dict.fromkeys(row["stage"] for row in csv.DictReader(file)))


@pytest.fixture(scope="module", params=[DPHuBERT(dphubert()), PruneOnly(prune_only())], ids=lambda each: each.name)
def compressor(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def workdir(compressor: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(compressor.name)


@pytest.fixture(scope="module")
def audio(speech_folder: Path) -> AudioSource:
    return AudioSource(root=speech_folder)


@pytest.fixture(scope="module")
def models(compressor: Any, workdir: Path, audio: AudioSource) -> dict[str, UpstreamModel]:
    made: dict[str, UpstreamModel] = compressor.compress(tiny_teacher(), audio, workdir, Context())
    return made


class TestModels:
    def test_are_named_by_their_sparsity_and_meet_it(self, compressor: Any, models: dict[str, UpstreamModel]) -> None:
        assert compressor.target_sparsities() == {f"{compressor.name}-{size}": size for size in SIZES}
        assert list(models) == list(compressor.target_sparsities())
        for model, size in zip(models.values(), SIZES, strict=True):
            assert 0 <= reached(model) - size < 0.006
            assert not model.training
            assert all(state.isfinite().all() for state in model(torch.randn(1, 4000))[0])

    def test_the_later_one_is_a_part_of_the_earlier(self, models: dict[str, UpstreamModel]) -> None:
        larger, smaller = models.values()
        assert is_part_of(smaller, larger)
        assert not is_part_of(larger, smaller)

    def test_each_has_the_history_of_its_own_stages(
        self, compressor: Any, models: dict[str, UpstreamModel], workdir: Path
    ) -> None:
        expected = {
            "dphubert": [["joint", "final"], ["joint-2", "final-2"]],
            "prune-only": [["head", "recovery-1", "recovery-2"], ["recovery-3", "recovery-4"]],
        }[compressor.name]
        assert [stages_of(workdir, model) for model in models] == expected

    def test_a_finished_call_repeats_nothing(
        self,
        compressor: Any,
        models: dict[str, UpstreamModel],
        workdir: Path,
        audio: AudioSource,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(UpstreamModel, "extract", None)
        again = compressor.compress(tiny_teacher(), audio, workdir, Context())
        assert {name: weights_hash(model) for name, model in again.items()} == {
            name: weights_hash(model) for name, model in models.items()
        }

    def test_killed_before_a_size_has_a_checkpoint_it_ends_the_same(
        self,
        compressor: Any,
        models: dict[str, UpstreamModel],
        workdir: Path,
        audio: AudioSource,
        tmp_path: Path,
    ) -> None:
        killed = tmp_path / "killed"
        shutil.copytree(workdir, killed, ignore=shutil.ignore_patterns("*-2.ckpt", "*-3.*", "*-4.*"))
        resumed = compressor.compress(tiny_teacher(), audio, killed, Context())
        last = f"{compressor.name}-{SIZES[-1]}"
        assert weights_hash(resumed[last]) == weights_hash(models[last])

    def test_of_one_size_are_what_the_plain_number_makes(
        self, compressor: Any, audio: AudioSource, tmp_path: Path
    ) -> None:
        made = []
        for sparsity in (0.5, (0.5,)):
            config = compressor.config.model_copy(update={"sparsity": sparsity})
            folder = tmp_path / str(sparsity)
            made.append(type(compressor)(config).compress(tiny_teacher(), audio, folder, Context()))
        plain, listed = made
        assert list(listed) == [f"{compressor.name}-0.5"]
        assert weights_hash(listed[f"{compressor.name}-0.5"]) == weights_hash(plain[compressor.name])

    def test_interrupted_they_end_the_same(self, speech_folder: Path, tmp_path: Path) -> None:
        compressor = DPHuBERT(dphubert())
        stages = ("final", "joint-2", "final-2")
        assert_interruptions_change_nothing(compressor, stages, speech_folder, tmp_path, model="dphubert-0.35")


@pytest.mark.parametrize(
    ("changes", "is_told"), [({}, True), ({"schedule": "auto"}, False), ({"sparsity": 0.35}, False)], ids=str
)
def test_a_schedule_for_one_long_stage_is_told(
    audio: AudioSource, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], is_told: bool
) -> None:
    with caplog.at_level("INFO", logger="compressors"):
        DPHuBERT(dphubert(**changes)).check(tiny_teacher(), audio, Context())
    assert ("schedule=auto fits each" in caplog.text) == is_told


class TestRecipe:
    def test_is_shared_out_in_equal_parts(self) -> None:
        config = MINI.model_copy(update={"sparsity": (0.5, 0.75, 0.875)})
        parts = config.each_size()
        assert [part.sparsity for part in parts] == [0.5, 0.75, 0.875]
        assert [(part.joint.updates, part.final.updates) for part in parts] == [(100, 50)] * 3
        assert [part.sparsity_warmup_updates for part in parts] == [50] * 3
        assert config.num_updates() == MINI.num_updates()

    def test_costs_less_after_the_first_size_as_there_is_less_to_train(self) -> None:
        config = dphubert()
        first, second = (part.training_macs(TEACHER_SHAPE) for part in config.each_size())
        assert first < config.training_macs(TEACHER_SHAPE) < first + second

    def test_costs_of_pruning_lie_between_those_of_its_sizes_alone(self) -> None:
        config = prune_only()
        alone = [config.model_copy(update={"sparsity": size}).training_macs(TEACHER_SHAPE) for size in SIZES]
        assert alone[1] < config.training_macs(TEACHER_SHAPE) < alone[0]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"sparsity": (0.6, 0.4)}, "in ascending order"),
            ({"sparsity": (0.4, 0.4)}, "in ascending order"),
            ({"sparsity": ()}, "in ascending order"),
            ({"sparsity": (0.4, 1.0)}, "less than 1"),
            ({"params": "11k"}, "two budgets"),
            ({"final": {"updates": 1, "warmup_updates": 0, "learning_rate": 1e-3}}, "final.updates 1 must be at least"),
        ],
    )
    def test_refuses_other_lists(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            dphubert(**changes)

    def test_every_step_to_every_size_recovers(self) -> None:
        with pytest.raises(ValidationError, match="at least pruning_steps 2 times 2 sizes"):
            prune_only(recovery=stage(3))

    def test_a_student_of_its_own_shape_has_one_size(self) -> None:
        with pytest.raises(ValidationError, match="one size at a time"):
            DistillOnlyConfig.model_validate({"distillation": stage(4), "sparsity": SIZES})
