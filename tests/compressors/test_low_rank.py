"""low-rank as a whole, on a tiny teacher and real files: sizes, recovery, resuming, what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.profiling import model_card
from bench.upstream import UpstreamModel
from bench.upstream.checkpoint import weights_hash
from bench.upstream.reduction import quantised
from compressors.distill_only import DistillOnly
from compressors.dphubert.compressor import DPHuBERT
from compressors.low_rank import factors
from compressors.low_rank.compressor import LowRank
from compressors.low_rank.config import LowRankConfig
from compressors.prune_only.compressor import PruneOnly
from compressors.settings import StageConfig
from compressors.size.linears import linears_of
from compressors.training.crops import Waveforms
from tests.helpers.method_checks import TEACHER_SHAPE, assert_interruptions_change_nothing, tiny_teacher


def _config(**changes: Any) -> LowRankConfig:
    fields: dict[str, Any] = {
        "recovery": StageConfig(updates=6, warmup_updates=2, learning_rate=1e-3),
        "whiten_batches": 2,
        "seconds_per_batch": 3.0,
        "max_duration_s": 1.5,
        "checkpoint_updates": 2,
        "log_updates": 2,
    }
    if "energy" not in changes and "params" not in changes:
        fields["sparsity"] = 0.4
    return LowRankConfig.model_validate(fields | changes)


@pytest.fixture
def audio(speech_folder: Path) -> AudioSource:
    return AudioSource(root=speech_folder)


def _error(model: UpstreamModel) -> float:
    teacher = tiny_teacher()
    waveforms = torch.randn(4, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.no_grad():
        state, expected = model(waveforms)[0][-1], teacher(waveforms)[0][-1]
    return float((state - expected).norm() / expected.norm())


class TestDecomposition:
    def test_interrupted_after_any_batch_or_layer_it_is_the_same(
        self, audio: AudioSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compressor = LowRank(_config(recovery=None))
        whole = compressor.compress(tiny_teacher(), audio, tmp_path / "whole", Context())["low-rank"]
        monkeypatch.setattr("compressors.training.kept_tensors.SECONDS_BETWEEN_SNAPSHOTS", 0.0)
        pieces = []

        def interrupted(function: Any) -> Any:
            def one(*arguments: Any) -> Any:
                if len(pieces) % 2:
                    pieces.append("interrupted")
                    raise KeyboardInterrupt
                pieces.append(function.__name__)
                return function(*arguments)

            return one

        monkeypatch.setattr(factors, "factors_of", interrupted(factors.factors_of))
        monkeypatch.setattr(Waveforms, "__getitem__", interrupted(Waveforms.__getitem__))
        while True:
            try:
                again = compressor.compress(tiny_teacher(), audio, tmp_path / "again", Context())["low-rank"]
                break
            except KeyboardInterrupt:
                continue
        assert weights_hash(again) == weights_hash(whole)
        assert pieces.count("__getitem__") == 2
        assert pieces.count("factors_of") == len(linears_of(TEACHER_SHAPE, compressor.config.linears))
        assert {path.name for path in (tmp_path / "again").iterdir()} <= {
            "identity.json",
            "factors.safetensors",
            "beside",
        }


class TestCompress:
    def test_leaves_history_and_projections_beside_the_model(self, audio: AudioSource, tmp_path: Path) -> None:
        models = LowRank(_config()).compress(tiny_teacher(), audio, tmp_path, Context())
        assert list(models) == ["low-rank"]
        beside = tmp_path / "beside" / "low-rank"
        assert {path.name for path in beside.iterdir()} == {"training.csv", "distillation_projections.safetensors"}
        with (beside / "training.csv").open(newline="") as file:
            assert [(row["stage"], row["update"]) for row in csv.DictReader(file)] == [
                ("recovery", str(update)) for update in (2, 4, 6)
            ]

    def test_without_recovery_it_is_what_the_decomposition_left(self, audio: AudioSource, tmp_path: Path) -> None:
        errors = {}
        for energy in (0.9, 0.99):
            config = _config(recovery=None, energy=energy, linears=["feed_forward"])
            model = LowRank(config).compress(tiny_teacher(), audio, tmp_path / str(energy), Context())["low-rank"]
            errors[energy] = _error(model)
            assert {path.split(".")[2] for path, _ in model.config.reduced_linears} == {"feed_forward"}
        assert 0 < errors[0.99] < errors[0.9] < 0.5

    def test_whitening_hears_the_audio(self, audio: AudioSource, tmp_path: Path) -> None:
        hashes: set[str] = set()
        for changes in ({"whiten": False}, {"whiten": True}, {"whiten": True, "whiten_batches": 1}):
            config = _config(recovery=None, **changes)
            workdir = tmp_path / str(len(hashes))
            hashes.add(weights_hash(LowRank(config).compress(tiny_teacher(), audio, workdir, Context())["low-rank"]))
        assert len(hashes) == 3

    @pytest.mark.slow
    def test_recovers(self, audio: AudioSource, tmp_path: Path) -> None:
        stage = StageConfig(updates=100, warmup_updates=10, learning_rate=3e-3)
        config = _config(recovery=stage, sparsity=0.5, log_updates=20, checkpoint_updates=100)
        LowRank(config).compress(tiny_teacher(), audio, tmp_path, Context())
        with (tmp_path / "beside" / "low-rank" / "training.csv").open(newline="") as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        assert losses[-1] < losses[0] - 0.1


class TestResume:
    def test_interrupted_it_ends_in_the_same_model(self, speech_folder: Path, tmp_path: Path) -> None:
        assert_interruptions_change_nothing(LowRank(_config()), ["recovery"], speech_folder, tmp_path)

    def test_the_decomposition_is_done_once(
        self, audio: AudioSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = _config(recovery=None)
        first = LowRank(config).compress(tiny_teacher(), audio, tmp_path, Context())["low-rank"]
        monkeypatch.setattr("torch.linalg.svd", None)
        again = LowRank(config).compress(tiny_teacher(), audio, tmp_path, Context())["low-rank"]
        assert weights_hash(again) == weights_hash(first)


class TestCheck:
    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"sparsity": 0.95}, "layers of rank 1 can reach: at most 0"),
            ({"params": 10}, "at least .* parameters for this teacher"),
            ({"sparsity": 0.5, "linears": ["projection"]}, "or add linears"),
            ({"min_duration_s": 60.0}, "at least 60 s"),
        ],
        ids=str,
    )
    def test_refuses_what_cannot_work(self, audio: AudioSource, changes: dict[str, Any], told: str) -> None:
        with pytest.raises(UserError, match=told):
            LowRank(_config(**changes)).check(tiny_teacher(), audio, Context())

    @pytest.mark.parametrize("method", [LowRank, DPHuBERT, DistillOnly, PruneOnly])
    def test_no_method_trains_a_teacher_of_reduced_layers(self, audio: AudioSource, method: Any) -> None:
        teacher = quantised(tiny_teacher(), ["layers.0.attention.q_proj"])
        with pytest.raises(UserError, match=r"Found 1 .* layers\.0\.attention\.q_proj"):
            method(method.presets["smoke"]).check(teacher, audio, Context())


class TestConfig:
    @pytest.mark.parametrize("changes", [{"sparsity": 0.5}, {"params": "1M"}, {"target": "macs"}], ids=str)
    def test_energy_and_a_budget_are_one_too_many(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValidationError, match=rf"energy=0.9 decides the size, and so does {next(iter(changes))}"):
            _config(energy=0.9, **changes)

    @pytest.mark.parametrize(("changes", "target"), [({"energy": 0.9}, None), ({"sparsity": 0.4}, 0.4)], ids=str)
    def test_a_target_is_recorded_where_there_is_one(self, changes: dict[str, Any], target: float | None) -> None:
        settings = _config(**changes).model_dump(mode="json")
        assert LowRankConfig.model_validate(settings).model_dump(mode="json") == settings
        card = model_card(tiny_teacher(), {"teacher_params": 10**6, "recipe": settings})
        assert card.target_sparsity == target

    @pytest.mark.parametrize("preset", ["mini", "smoke", "paper"])
    def test_presets_have_the_updates_and_batches_of_dphubert_s(self, preset: str) -> None:
        ours, other = LowRank.presets[preset], DPHuBERT.presets[preset]
        assert ours.num_updates() == other.num_updates()
        for field in ("seconds_per_batch", "accumulate_batches", "min_duration_s", "max_duration_s", "precision"):
            assert getattr(ours, field) == getattr(other, field)
