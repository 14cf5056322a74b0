"""How much work a plan has: against numbers worked out by hand on a tiny corpus and the mini model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.contracts import Compressor, Context, Settings, SplitSize
from bench.errors import UserError
from bench.runs.corpora import checked_corpora
from bench.runs.estimates import FEATURES_TFLOPS, TRAINING_TFLOPS, Estimate, Estimates, checkpoint_bytes, hours_at
from bench.runs.work import WorkList
from bench.store.run_folder import RunFolder
from bench.upstream import UpstreamConfig, reference_config
from bench.upstream.cost import count_macs, count_parameters
from tasks.asr import ASR
from tasks.er import ER
from tasks.ks import KS
from tests.helpers.choices import config_of

NUM_STATES, DIM = 13, 128
UPDATES, BATCH_SIZE = 20, 16
"""Of the head of KS in the preset ``smoke``."""


@pytest.fixture(scope="module")
def shape() -> UpstreamConfig:
    config = reference_config("mini-hubert")
    assert config is not None
    return config


@pytest.fixture
def data(speech_folder: Path, tmp_path: Path) -> Path:
    """Two files each for train (1.0 and 1.4 s), dev (1.8 and 2.2 s) and test (2.6 and 3.0 s)."""
    splits = ["train", "train", "dev", "dev", "test", "test"]
    rows = [f"{speech_folder}/speech-{n}.wav,{'ab'[n % 2]},{split}" for n, split in enumerate(splits)]
    (tmp_path / "ks.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    path = tmp_path / "data.yaml"
    path.write_text(f"audio: {{root: {speech_folder}}}\ntasks: {{ks: {{manifest: ks.csv}}}}\n")
    return path


def estimates(data: Path, compressors: str, *assignments: str, device: Any = "cpu", **more: Any) -> dict[str, Any]:
    chosen = {"tasks": ("ks",), "preset": "smoke", "seeds": (0, 1), "references": ()} | more
    config = config_of(compressors, *assignments, data=str(data), **chosen)
    work = WorkList(RunFolder(data.parent / "run"), config)
    found = Estimates(work, checked_corpora(config), device).items()
    return {item.subject: estimate for item, estimate in found}


class TestCompression:
    def test_a_teacher_counts_once_and_what_learns_three_times(self, data: Path, shape: UpstreamConfig) -> None:
        crop = count_macs(shape, 2 * 16_000)
        found = estimates(data, "dphubert")["dphubert"]
        # 8 and 4 updates of 4 s, in crops of 2 s. The second stage trains a quarter of the teacher.
        assert found.updates == 12
        assert found.audio_s == 12 * 4.0
        assert found.macs == pytest.approx(8 * 2 * (1 + 3) * crop + 4 * 2 * (1 + 3 * 0.25) * crop, rel=1e-3)
        assert found.gpu_hours == pytest.approx(2 * found.macs / (TRAINING_TFLOPS * 1e12) / 3600)
        assert found.disk_bytes == 4 * count_parameters(shape)

    def test_a_stack_is_the_sum_of_its_parts(self, data: Path) -> None:
        alone = estimates(data, "dphubert,low-rank")
        stack = estimates(data, "dphubert+low-rank")["dphubert+low-rank"]
        for name in ("updates", "audio_s", "macs"):
            assert getattr(stack, name) == sum(getattr(alone[part], name) for part in ("dphubert", "low-rank")), name

    def test_a_part_of_another_row_is_not_made_again(self, data: Path) -> None:
        both = estimates(data, "dphubert,dphubert+int8")
        assert (both["dphubert"].updates, both["dphubert+int8"].updates, both["dphubert+int8"].macs) == (12, 0, 0)

    def test_several_sizes_are_several_models(self, data: Path, shape: UpstreamConfig) -> None:
        found = estimates(data, "dphubert", "sparsity=[0.5,0.75]")["dphubert"]
        assert found.disk_bytes == 2 * 4 * count_parameters(shape)

    @pytest.mark.parametrize("compressor", ["int8", "low-rank"])
    def test_nothing_is_trained(self, data: Path, compressor: str) -> None:
        settings = ["recovery=null"] if compressor == "low-rank" else []
        found = estimates(data, compressor, *settings)[compressor]
        assert (found.updates, found.audio_s, found.macs) == (0, 0.0, 0)

    def test_a_method_that_declares_nothing_is_unknown(
        self, data: Path, monkeypatch: pytest.MonkeyPatch, shape: UpstreamConfig
    ) -> None:
        monkeypatch.setattr("compressors.int8.Int8.training_work", Compressor.training_work)
        found = estimates(data, "int8")["int8"]
        assert found == Estimate(None, None, None, 4 * count_parameters(shape), TRAINING_TFLOPS)
        assert found.gpu_hours is None

    def test_a_teacher_without_layers_is_refused(self, data: Path) -> None:
        with pytest.raises(UserError, match="fbank"):
            estimates(data, "dphubert", teacher="fbank")

    def test_checkpoints_are_eleven_copies_of_the_weights(self, shape: UpstreamConfig) -> None:
        assert checkpoint_bytes("mini-hubert") == 11 * 4 * count_parameters(shape)


class TestCell:
    def test_stored_features_are_computed_once(self, data: Path, shape: UpstreamConfig) -> None:
        found = estimates(data, "int8")
        first, second = (found[f"int8 ks seed {seed}"] for seed in (0, 1))
        assert first.updates == second.updates == UPDATES
        assert first.audio_s == pytest.approx(12.0)
        assert first.macs == 6 * count_macs(shape, 2 * 16_000)
        assert first.disk_bytes == 6 * NUM_STATES * DIM * 4
        assert first.tflops == FEATURES_TFLOPS
        assert (second.audio_s, second.macs, second.disk_bytes) == (0.0, 0, 0)

    def test_the_other_protocol_computes_them_at_every_step(self, data: Path, shape: UpstreamConfig) -> None:
        found = estimates(data, "int8", protocol="s3prl")
        utterances = UPDATES * BATCH_SIZE
        for seed in (0, 1):
            cell = found[f"int8 ks seed {seed}"]
            # dev is scored twice in training and once after it.
            assert cell.audio_s == pytest.approx(utterances * 1.2 + 3 * 4.0 + 5.6)
            mean = round(cell.audio_s / (utterances + 3 * 2 + 2) * 16_000)
            assert cell.macs == (utterances + 3 * 2 + 2) * count_macs(shape, mean)
            assert cell.disk_bytes == 0

    def test_a_search_trains_every_candidate_once(self, data: Path) -> None:
        found = estimates(data, "int8", head_settings={"learning_rate": "auto"})
        assert [found[f"int8 ks seed {seed}"].updates for seed in (0, 1)] == [4 * UPDATES, UPDATES]

    def test_a_search_costs_its_own_heads_without_seed_0(self, data: Path) -> None:
        """The heads of a search have seed 0."""
        found = estimates(data, "int8", head_settings={"learning_rate": "auto"}, seeds=(3, 1))
        assert {seed: found[f"int8 ks seed {seed}"].updates for seed in (3, 1)} == {3: UPDATES, 1: 5 * UPDATES}

    def test_limits_count(self, data: Path) -> None:
        limits = ["tasks.ks.max_train_utterances=1", "tasks.ks.max_eval_utterances=1"]
        assert estimates(data, "int8", *limits)["int8 ks seed 0"].audio_s == pytest.approx(1.2 + 2.0 + 2.8)

    def test_filter_banks_have_no_macs(self, data: Path) -> None:
        found = estimates(data, "int8", references=("fbank",))["fbank ks seed 0"]
        assert found.macs == 0
        assert found.disk_bytes > 0

    def test_a_task_that_declares_nothing_is_unknown(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bench.runs.estimates.task_settings", lambda *_: Settings())
        found = estimates(data, "int8")["int8 ks seed 0"]
        assert (found.updates, found.audio_s, found.macs, found.disk_bytes) == (None, None, None, None)

    def test_the_head_counts(self) -> None:
        """SUPERB's recurrent head costs as much as the upstream: 43 million MACs a frame, thrice in training."""
        sizes = {"train": SplitSize(1_000, 10_000.0), "dev": SplitSize(10, 100.0), "test": SplitSize(10, 100.0)}
        config = ASR.presets["paper"].model_copy(update={"learning_rate": 1e-4, "total_steps": 4_000})
        frame = 13 * 768 + 768 * 1024 + 2 * 4 * 1024 * (1024 + 1024) + 2 * 4 * 1024 * (2048 + 1024)
        # 4,000 batches of 16 utterances of 10 s; dev twice in training and once after it, and test.
        frames = 3 * 4_000 * 16 * 10 * 50 + (3 + 1) * 100 * 50
        assert config.head_macs(sizes, Context(protocol="s3prl"), 13, 768) == frames * frame

    def test_a_pooled_head_counts_one_frame_of_stored_means(self) -> None:
        sizes = {split: SplitSize(100, 200.0) for split in ("train", "dev", "test")}
        config = KS.presets["mini"]
        cached, padded = (
            config.head_macs(sizes, Context(protocol=protocol), 13, 128) for protocol in ("cached", "s3prl")
        )
        assert padded == 2 * 50 * cached

    def test_every_fold_is_trained(self) -> None:
        sessions = {f"session{number}": SplitSize(100, 200.0) for number in range(1, 6)}
        config = ER.presets["paper"].model_copy(update={"learning_rate": 1e-4})
        work = config.evaluation_work(sessions, Context(protocol="s3prl"))  # type: ignore[attr-defined]
        assert work.updates == 5 * 30_000
        # 32 utterances per update; per fold, dev of 80 utterances 31 times, and test of 100.
        assert work.num_utterances == 5 * (30_000 * 32 + 31 * 80 + 100)
        assert work.audio_s == pytest.approx(2 * work.num_utterances)


def test_hours_at_a_throughput() -> None:
    """A MAC is two operations."""
    assert hours_at(1.0, 1.8e15) == pytest.approx(1.0)
