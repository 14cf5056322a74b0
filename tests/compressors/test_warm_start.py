"""Compressing again: from an existing model, with new audio, in its own shape or a smaller one."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench.audio.files import read_headers, read_waveform
from bench.contracts import AudioSource, Context, WarmStart
from bench.errors import UserError
from bench.testing import TEACHER_SHAPES, write_speech
from bench.upstream import UpstreamModel, save_upstream, weights_hash
from bench.upstream.config import ReducedLinear
from bench.upstream.cost import count_dphubert_parameters
from compressors.distill_only import DistillOnly, DistillOnlyConfig
from compressors.dphubert.compressor import DPHuBERT
from compressors.dphubert.config import DPHuBERTConfig
from compressors.objectives.distilled_layers import layer_groups
from compressors.objectives.state_predictors import Projections
from compressors.prune_only.compressor import PruneOnly
from compressors.prune_only.config import PruneOnlyConfig
from compressors.settings import StageConfig
from tests.helpers.method_checks import TEACHER_SHAPE, assert_interruptions_change_nothing, tiny_teacher, warm_start

SHARED = {"seconds_per_batch": 3.0, "max_duration_s": 1.5, "checkpoint_updates": 2, "log_updates": 2}
PROJECTIONS = "distillation_projections.safetensors"


def stage(updates: int, learning_rate: float = 3e-3) -> StageConfig:
    return StageConfig(updates=updates, warmup_updates=2, learning_rate=learning_rate)


def dphubert(**changes: Any) -> DPHuBERTConfig:
    fields = {"joint": stage(8), "final": stage(8), "sparsity": 0.2, "sparsity_warmup_updates": 4}
    return DPHuBERTConfig.model_validate(SHARED | fields | changes)


def prune_only(**changes: Any) -> PruneOnlyConfig:
    fields = {"head": stage(4), "recovery": stage(8), "pruning_steps": 2, "importance": "l2"}
    clusters = {"num_clusters": 5, "kmeans_share": 1.0, "projection_dim": 8}
    return PruneOnlyConfig.model_validate(SHARED | fields | clusters | changes)


def distill_only(**changes: Any) -> DistillOnlyConfig:
    return DistillOnlyConfig.model_validate(SHARED | {"distillation": stage(8)} | changes)


def fitted(config: Any, start: WarmStart, *chosen: str) -> Any:
    """Return the recipe as ``--from`` makes it; the number of updates stays."""
    return config.warm_started(start.model.config, TEACHER_SHAPE, {*chosen, "final.updates"})


def reached(model: UpstreamModel) -> float:
    return 1 - count_dphubert_parameters(model.config) / count_dphubert_parameters(TEACHER_SHAPE)


def distance(model: UpstreamModel, projections: Path, audio: AudioSource) -> float:
    """Measure how far a model's projected states are from the teacher's, by plain torch."""
    weights = load_file(projections)
    apart = []
    with torch.no_grad():
        for file in read_headers(sorted(Path(str(audio.root)).iterdir()), resample=False):
            waveform = torch.from_numpy(read_waveform(file))[None]
            ours, theirs = (each.distillation_states(waveform)[0] for each in (model, tiny_teacher()))
            for group, layers in enumerate(layer_groups(dphubert(), TEACHER_SHAPE.num_layers)):
                matrix, bias = weights[f"{group}.weight"], weights[f"{group}.bias"]
                apart += [(ours[layer] @ matrix.T + bias - theirs[layer]).abs().mean() for layer in layers]
    return float(torch.stack(apart).mean())


@pytest.fixture(scope="module")
def start(speech_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> WarmStart:
    """A model of 20 % sparsity, and the projections beside it."""
    workdir = tmp_path_factory.mktemp("start")
    compressor = DPHuBERT(dphubert())
    model = compressor.compress(tiny_teacher(), AudioSource(root=speech_folder), workdir, Context())["dphubert"]
    save_upstream(model, workdir / "model", {}, beside=[workdir / "beside" / "dphubert" / PROJECTIONS])
    made = warm_start(workdir / "model")
    assert made is not None
    return made


@pytest.fixture(scope="module")
def new_audio(tmp_path_factory: pytest.TempPathFactory) -> AudioSource:
    """More speech than the model has heard."""
    folder = tmp_path_factory.mktemp("new")
    write_speech(folder, num_files=9)
    for index in range(6):
        (folder / f"speech-{index}.wav").unlink()
    return AudioSource(root=folder)


class TestKeepingTheShape:
    def test_a_few_updates_bring_the_model_closer_to_its_teacher(
        self, start: WarmStart, new_audio: AudioSource, tmp_path: Path
    ) -> None:
        before = weights_hash(start.model)
        config = fitted(dphubert(final=stage(30)), start)
        assert list(config.stages()) == ["final"]
        context = Context(start=start)
        DPHuBERT(config).check(tiny_teacher(), new_audio, context)
        model = DPHuBERT(config).compress(tiny_teacher(), new_audio, tmp_path, context)["dphubert"]
        assert model.config.layers == start.model.config.layers
        assert model.config.conv_layers == start.model.config.conv_layers
        assert weights_hash(start.model) == before
        assert start.folder is not None
        beside = tmp_path / "beside" / "dphubert" / PROJECTIONS
        assert distance(model, beside, new_audio) < 0.9 * distance(start.model, start.folder / PROJECTIONS, new_audio)

    def test_goes_on_with_the_projections_beside_the_model(
        self, start: WarmStart, new_audio: AudioSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An update that changes nothing shows where they began."""
        config = fitted(dphubert(final=stage(3, 1e-30)), start)
        for name, folder in (("with", start.folder), ("without", None)):
            caplog.clear()
            context = Context(start=WarmStart(start.model, folder))
            DPHuBERT(config).compress(tiny_teacher(), new_audio, tmp_path / name, context)
            projections = load_file(tmp_path / name / "beside" / "dphubert" / PROJECTIONS)
            expected = load_file(folder / PROJECTIONS)["0.weight"] if folder else torch.eye(32)
            assert projections["0.weight"].allclose(expected, rtol=0, atol=1e-20)
            warned = [record for record in caplog.records if record.levelno == logging.WARNING]
            assert bool(warned) == (folder is None)

    def test_refuses_widths_that_nothing_would_be_pruned_to(self, start: WarmStart) -> None:
        config = prune_only(allocation="as:other", sparsity=0.4)
        with pytest.raises(UserError, match="allocation=as:other") as refused:
            fitted(config, start, "allocation")
        assert "\n" not in str(refused.value)
        assert fitted(config, start, "allocation", "sparsity").allocation == "as:other"
        assert fitted(config, start).keep_shape

    @pytest.mark.parametrize(
        "compressor", [PruneOnly(prune_only()), DistillOnly(distill_only())], ids=lambda each: each.name
    )
    def test_other_methods_do_too(
        self, compressor: Any, start: WarmStart, new_audio: AudioSource, tmp_path: Path
    ) -> None:
        method = type(compressor)(fitted(compressor.config, start))
        method.check(tiny_teacher(), new_audio, Context(start=start))
        models = method.compress(tiny_teacher(), new_audio, tmp_path, Context(start=start))
        model = models[compressor.name]
        assert model.config.layers == start.model.config.layers
        assert weights_hash(model) != weights_hash(start.model)

    def test_interrupted_it_ends_the_same(self, start: WarmStart, speech_folder: Path, tmp_path: Path) -> None:
        compressor = DPHuBERT(fitted(dphubert(), start))
        assert_interruptions_change_nothing(compressor, ("final",), speech_folder, tmp_path, start=start.folder)


class TestTightening:
    @pytest.mark.parametrize(
        "compressor",
        [DPHuBERT(dphubert(sparsity=0.35)), PruneOnly(prune_only(sparsity=0.35))],
        ids=lambda each: each.name,
    )
    def test_meets_the_budget_with_a_part_of_the_model(
        self, compressor: Any, start: WarmStart, new_audio: AudioSource, tmp_path: Path
    ) -> None:
        method = type(compressor)(fitted(compressor.config, start, "sparsity"))
        method.check(tiny_teacher(), new_audio, Context(start=start))
        model = method.compress(tiny_teacher(), new_audio, tmp_path, Context(start=start))[compressor.name]
        assert 0 <= reached(model) - 0.35 < 0.006
        for ours, theirs in zip(model.config.layers, start.model.config.layers, strict=True):
            assert set(ours.heads) <= set(theirs.heads)
            assert ours.feed_forward <= theirs.feed_forward

    def test_the_target_rises_from_the_model_s_own_sparsity(
        self, start: WarmStart, new_audio: AudioSource, tmp_path: Path
    ) -> None:
        config = fitted(
            dphubert(sparsity=0.35, sparsity_warmup_updates=8, log_updates=1), start, "sparsity", "schedule"
        )
        DPHuBERT(config).compress(tiny_teacher(), new_audio, tmp_path, Context(start=start))
        with (tmp_path / "beside" / "dphubert" / "training.csv").open(newline="") as file:
            targets = [float(row["target_sparsity"]) for row in csv.DictReader(file) if row["stage"] == "joint"]
        step = (0.35 - reached(start.model)) / 8
        assert targets == pytest.approx([reached(start.model) + step * update for update in range(8)])


class TestRecipe:
    def test_has_a_tenth_of_the_updates(self, start: WarmStart) -> None:
        shape = start.model.config
        paper = DPHuBERT.presets["paper"]
        kept = paper.warm_started(shape, TEACHER_SHAPE, ())
        assert (kept.num_updates(), list(kept.stages()), kept.keep_shape) == (7500, ["final"], True)
        assert kept.sparsity == pytest.approx(reached(start.model))
        tightened = paper.warm_started(shape, TEACHER_SHAPE, {"sparsity"})
        assert (tightened.joint.updates, tightened.final.updates, tightened.keep_shape) == (5000, 2500, False)
        assert (tightened.sparsity, tightened.schedule) == (0.75, "auto")
        fixed = paper.warm_started(shape, TEACHER_SHAPE, {"sparsity", "gate_learning_rate"})
        assert (fixed.schedule, fixed.sparsity_warmup_updates) == ("fixed", 500)
        assert PruneOnly.presets["paper"].warm_started(shape, TEACHER_SHAPE, ()).num_updates() == 7500
        assert DistillOnly.presets["paper-thin"].warm_started(shape, TEACHER_SHAPE, ()).num_updates() == 20_000

    def test_has_the_updates_of_the_user(self, start: WarmStart) -> None:
        for chosen in ("final.updates", "final"):
            kept = dphubert(final=stage(123)).warm_started(start.model.config, TEACHER_SHAPE, {chosen})
            assert kept.num_updates() == 123

    def test_short_recipes_keep_a_few(self, start: WarmStart) -> None:
        assert DPHuBERT.presets["smoke"].warm_started(start.model.config, TEACHER_SHAPE, ()).num_updates() == 10

    def test_the_model_s_own_size_keeps_its_shape(self, start: WarmStart) -> None:
        own = dphubert(sparsity=0.2).warm_started(start.model.config, TEACHER_SHAPE, {"sparsity"})
        assert own.keep_shape

    def test_a_size_may_be_the_preset_s(self, start: WarmStart) -> None:
        tightened = dphubert(sparsity=0.5, keep_shape=False)
        assert not tightened.warm_started(start.model.config, TEACHER_SHAPE, {"keep_shape"}).keep_shape


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"dim": 48}, "its dim is 48, the teacher's 32"),
            ({"layers": TEACHER_SHAPE.layers[:2]}, "its number of layers is 2, the teacher's 3"),
            ({"conv_layers": TEACHER_SHAPES["hubert"].conv_layers[:6]}, "its convolutions' kernels and strides"),
            ({"layer_norm_first": True}, "its layer_norm_first is True"),
            (
                {"layers": tuple(layer.model_copy(update={"feed_forward": 64}) for layer in TEACHER_SHAPE.layers)},
                "layer 0 has heads or feed-forward units",
            ),
            (
                {"reduced_linears": (("layers.0.attention.q_proj", ReducedLinear(dtype="int8")),)},
                "its number of low-rank or int8 linear layers is 1, the teacher's 0",
            ),
        ],
        ids=["dim", "depth", "convolutions", "norm", "width", "int8"],
    )
    def test_a_model_of_another_kind(self, changes: dict[str, Any], message: str) -> None:
        shape = TEACHER_SHAPE.model_copy(update=changes)
        for config in (dphubert(), prune_only()):
            with pytest.raises(UserError, match=message):
                config.warm_started(shape, TEACHER_SHAPE, ())

    @pytest.mark.parametrize("sizes", [0.1, (0.2, 0.35)])
    def test_a_size_above_the_model_s(self, start: WarmStart, sizes: Any) -> None:
        with pytest.raises(UserError, match=r"size below that of --from.*Ask for a smaller"):
            dphubert(sparsity=sizes).warm_started(start.model.config, TEACHER_SHAPE, {"sparsity"})

    @pytest.mark.parametrize("sizes", [0.5, (0.3, 0.5)])
    def test_a_shape_to_keep_that_is_to_become_smaller(self, start: WarmStart, sizes: Any) -> None:
        with pytest.raises(UserError, match="keep_shape=true keeps the size of --from, and sparsity="):
            dphubert(sparsity=sizes, keep_shape=True).warm_started(
                start.model.config, TEACHER_SHAPE, {"sparsity", "keep_shape"}
            )

    def test_a_model_that_is_not_compressed(self) -> None:
        with pytest.raises(UserError, match="as large as the teacher"):
            dphubert().warm_started(TEACHER_SHAPE, TEACHER_SHAPE, ())

    def test_another_size_of_a_student_whose_shape_is_fixed(self, start: WarmStart) -> None:
        with pytest.raises(UserError, match=r"distill-only keeps.* Found sparsity"):
            distill_only().warm_started(start.model.config, TEACHER_SHAPE, {"sparsity"})
        with pytest.raises(UserError, match=r"student of 2 layers as --from, for student=distilhubert. Found 3"):
            distill_only(student="distilhubert").warm_started(start.model.config, TEACHER_SHAPE, ())

    def test_nothing_to_do(self, start: WarmStart, new_audio: AudioSource) -> None:
        config = fitted(prune_only(recovery=None), start)
        with pytest.raises(UserError, match="recovery=null"):
            PruneOnly(config).check(tiny_teacher(), new_audio, Context(start=start))

    def test_a_shape_to_keep_without_a_model(self, new_audio: AudioSource) -> None:
        with pytest.raises(UserError, match="keep_shape=true"):
            DPHuBERT(dphubert(keep_shape=True)).check(tiny_teacher(), new_audio, Context())

    def test_the_folder_of_work_with_another_start(
        self, start: WarmStart, new_audio: AudioSource, tmp_path: Path
    ) -> None:
        config = fitted(dphubert(final=stage(3)), start)
        DPHuBERT(config).compress(tiny_teacher(), new_audio, tmp_path, Context(start=start))
        other = UpstreamModel(start.model.config)
        with pytest.raises(UserError, match="start differ"):
            DPHuBERT(config).compress(tiny_teacher(), new_audio, tmp_path, Context(start=WarmStart(other)))

    def test_torn_projections(self, tmp_path: Path) -> None:
        (tmp_path / PROJECTIONS).write_bytes(b"torn")
        with pytest.raises(UserError, match="torn file"):
            Projections(((0,),), 32, 32).load(tmp_path / PROJECTIONS)
