"""How features are computed: audio decoded once and ahead, batches of one length, precision, and recomputed frames."""

from __future__ import annotations

import errno
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from bench.audio.files import read_header, read_waveform
from bench.contracts import Context
from bench.errors import UserError
from bench.upstream import UpstreamModel
from bench.upstream.config import uniform_config
from tasks.asr import ASR
from tasks.bridge import s3prl_compat
from tasks.bridge.frozen_upstream import FrozenUpstream
from tasks.corpora.librispeech import LibriSpeechData
from tasks.corpora.speech_commands import SpeechCommandsData
from tasks.feature_cache.choice import FeatureChoice
from tasks.feature_cache.decoding import Decoded, batches_of_one_length, decoded
from tasks.feature_cache.features import Features, Utterances
from tasks.feature_cache.room import features_root
from tasks.feature_cache.store import FeatureStore
from tasks.feature_cache.upstream import hidden_states_of, store_folder
from tasks.feature_cache.waveforms import WaveformHashes
from tasks.ks import KS

SHORT_KS = KS.presets["smoke"].model_copy(update={"total_steps": 2, "eval_interval_steps": 2, "save_interval_steps": 2})
SHORT_ASR = ASR.presets["smoke"].model_copy(
    update={"total_steps": 6, "batch_size": 2, "eval_interval_steps": 3, "save_interval_steps": 3, "hidden_size": 8}
)
LENGTHS = [8_000, 6_400, 8_000, 16_000, 8_000, 6_400, 8_000]


@pytest.fixture
def waveforms() -> list[torch.Tensor]:
    noise = np.random.default_rng(0)
    return [torch.from_numpy(noise.standard_normal(length).astype(np.float32)) for length in LENGTHS]


@pytest.fixture
def utterances(waveforms: list[torch.Tensor], tmp_path: Path) -> Utterances:
    paths = [str(tmp_path / f"{index}.wav") for index in range(len(waveforms))]
    for path in paths:
        Path(path).touch()
    hashes = WaveformHashes(tmp_path / "hashes", paths, "whole")
    num_frames = [(length - 1) // 320 + 1 for length in LENGTHS]
    return Utterances(hashes, LENGTHS, num_frames, paths, waveforms.__getitem__)


def stored(
    utterances: Utterances, store: FeatureStore, upstream: torch.nn.Module, **options: Any
) -> list[torch.Tensor]:
    states = hidden_states_of(FrozenUpstream(upstream), "cpu", "fp32")
    features = Features(states, store, "frames", frame_bytes=100, limit_bytes=None, **options)
    features.prepare(utterances)
    return [features[utterances.hashes.of(position)] for position in range(len(LENGTHS))]


class TestDecoding:
    def test_audio_is_decoded_once(
        self,
        speech_commands: SpeechCommandsData,
        make_upstream: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        read: list[Path] = []
        monkeypatch.setattr(
            s3prl_compat, "read_waveform", lambda file, **part: read.append(file.path) or read_waveform(file, **part)
        )
        KS(SHORT_KS).evaluate(make_upstream(), speech_commands, tmp_path / "w", Context())
        first = list(read)
        KS(SHORT_KS).evaluate(make_upstream(seed=1), speech_commands, tmp_path / "other", Context())
        tables = KS(SHORT_KS).read(speech_commands)
        assert sorted(first) == sorted(Path(path) for table in tables.values() for path in table["wav_path"])
        again = read[len(first) :]
        # Some clips of the splits are the same, which their hashes now show.
        assert again
        assert Counter(again) <= Counter(first)

    def test_workers_give_the_same_and_draw_nothing(self, waveforms: list[torch.Tensor]) -> None:
        torch.manual_seed(3)
        state = torch.get_rng_state()
        positions = [4, 0, 6]
        alone, ahead = (list(decoded(positions, waveforms.__getitem__, count)) for count in (0, 2))
        assert [one.position for one in ahead] == positions
        assert [one.sha256 for one in ahead] == [one.sha256 for one in alone]
        assert all(torch.equal(one.waveform, other.waveform) for one, other in zip(alone, ahead, strict=True))
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_an_unreadable_file_is_named_in_one_line(self, num_workers: int, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", np.zeros(800), 16_000)
        header = read_header(tmp_path / "a.wav")
        (tmp_path / "a.wav").write_bytes(b"")
        with pytest.raises(UserError, match=r"a\.wav is empty") as error:
            list(decoded([0], lambda _: torch.from_numpy(read_waveform(header)), num_workers))
        assert "\n" not in str(error.value)


class TestBatches:
    def test_only_equal_lengths_share_a_batch(self) -> None:
        utterances = [Decoded(index, torch.zeros(length), "") for index, length in enumerate([5, 5, 5, 4, 4, 9, 2])]
        batches = [[one.position for one in batch] for batch in batches_of_one_length(utterances, 10)]
        assert batches == [[0, 1], [2], [3, 4], [5], [6]]
        assert [len(batch) for batch in batches_of_one_length(utterances, 0)] == [1] * 7
        assert list(batches_of_one_length([], 10)) == []

    @pytest.mark.parametrize("architecture", ["hubert", "wavlm"])
    def test_features_do_not_depend_on_the_batch(
        self, utterances: Utterances, architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch.manual_seed(0)
        shape = uniform_config(architecture, 32, 2, 4, 64, conv_channels=16, positional_kernel=8)
        assert shape.extractor_norm == "group_norm", "which padding would change"
        upstream = UpstreamModel(shape).eval()
        alone = stored(utterances, FeatureStore(tmp_path / "alone", {}), upstream)
        sizes = []
        forward = upstream.forward
        monkeypatch.setattr(
            upstream, "forward", lambda batch, lengths: sizes.append(tuple(batch.shape)) or forward(batch, lengths)
        )
        together = stored(utterances, FeatureStore(tmp_path / "together", {}), upstream, most_samples=24_000)
        assert sizes == [(1, 16_000), (3, 8_000), (1, 8_000), (2, 6_400)]
        for one, other in zip(alone, together, strict=True):
            assert one.shape == other.shape
            # Half precision keeps 11 bits.
            torch.testing.assert_close(one.float(), other.float(), rtol=2e-3, atol=2e-3)

    def test_an_utterance_that_occurs_twice_is_computed_once(
        self, utterances: Utterances, waveforms: list[torch.Tensor], make_upstream: Any, tmp_path: Path
    ) -> None:
        waveforms[4] = waveforms[0]
        upstream = make_upstream()
        features = stored(utterances, FeatureStore(tmp_path / "store", {}), upstream)
        assert len(upstream.lengths) == len(LENGTHS) - 1
        assert torch.equal(features[0], features[4])

    def test_a_full_disk_ends_the_computation(
        self, utterances: Utterances, make_upstream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = FeatureStore(tmp_path / "store", {})

        def full(_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", "pack")

        monkeypatch.setattr("tasks.feature_cache.features.PACK_INTERVAL_S", 0.0)
        monkeypatch.setattr(store, "add", full)
        upstream = make_upstream()
        with pytest.raises(OSError, match="No space left"):
            stored(utterances, store, upstream)
        assert len(upstream.lengths) < len(LENGTHS)


class TestPrecision:
    def test_each_precision_has_a_store_of_its_own(self) -> None:
        folders = {store_folder("w", "frames", Context(), precision) for precision in ("fp32", "bf16", "fp16")}
        assert len(folders) == 3
        assert store_folder("w", "frames", Context()) in folders

    def test_bf16_is_close_and_recorded(
        self, speech_commands: SpeechCommandsData, make_upstream: Any, tmp_path: Path
    ) -> None:
        whole = KS(SHORT_KS).evaluate(make_upstream(), speech_commands, tmp_path / "fp32", Context())
        upstream = make_upstream()
        config = SHORT_KS.model_copy(update={"feature_precision": "bf16"})
        half = KS(config).evaluate(upstream, speech_commands, tmp_path / "bf16", Context())
        assert upstream.lengths, "computed again"
        assert half.settings["feature_precision"] == "bf16"
        assert "feature_precision" not in whole.settings
        losses = [one.settings["test_recipe_metrics"]["loss"] for one in (whole, half)]
        assert losses[0] != losses[1]
        assert losses[0] == pytest.approx(losses[1], rel=0.02)

    def test_s3prl_has_one_precision(
        self, speech_commands: SpeechCommandsData, make_upstream: Any, tmp_path: Path
    ) -> None:
        config = SHORT_KS.model_copy(update={"feature_precision": "fp16"})
        with pytest.raises(UserError, match=r"feature_precision.*s3prl.*fp16"):
            KS(config).evaluate(make_upstream(), speech_commands, tmp_path / "w", Context(protocol="s3prl"))


class TestFrameCache:
    @pytest.mark.parametrize(
        ("kind", "device", "frame_cache", "is_stored"),
        [
            ("frames", "cpu", "auto", True),
            ("frames", "cuda", "auto", False),
            ("frames", "cuda", "disk", True),
            ("frames", "cpu", "none", False),
            ("means", "cuda", "auto", True),
            ("means", "cuda", "none", True),
        ],
    )
    def test_choice(self, kind: Any, device: str, frame_cache: Any, is_stored: bool) -> None:
        assert FeatureChoice(kind, device, frame_cache=frame_cache).is_stored == is_stored

    def test_recomputed_frames_equal_stored_ones_to_every_digit(
        self,
        librispeech: LibriSpeechData,
        make_upstream: Any,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        found = {}
        for choice in ("none", "disk"):
            task = ASR(SHORT_ASR.model_copy(update={"frame_cache": choice}))
            with caplog.at_level(logging.INFO):
                found[choice] = task.evaluate(make_upstream(), librispeech, tmp_path / choice, Context())
            assert bool(list(features_root().rglob("*.safetensors"))) == (choice == "disk")
        assert sum("frame_cache=none" in message for message in caplog.messages) == 1
        none, disk = found["none"], found["disk"]
        assert none.settings["features_are_stored"] is False
        assert none.predictions == disk.predictions
        for key in ("test_recipe_metrics", "dev_recipe_metrics", "layer_weights"):
            assert none.settings[key] == disk.settings[key]

    def test_a_run_announces_no_space_for_them(self, librispeech: LibriSpeechData, make_upstream: Any) -> None:
        sizes = ASR(SHORT_ASR).check(librispeech)
        for choice, has_space in (("disk", True), ("none", False)):
            config = SHORT_ASR.model_copy(update={"frame_cache": choice})
            assert bool(config.feature_store(make_upstream(), "w", sizes, Context())[1]) == has_space

    def test_means_have_no_such_setting(self) -> None:
        assert "frame_cache" not in SHORT_KS.model_dump()
        assert SHORT_ASR.model_dump()["frame_cache"] == "auto"
