"""The cached protocol: the same head as on frames computed at every step, and a cache that is never trusted blindly."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from bench.contracts import Context, Evaluation
from bench.errors import UserError
from tasks.asr import ASR
from tasks.corpora.librispeech import LibriSpeechData
from tasks.corpora.own_data import ManifestData
from tasks.corpora.speech_commands import SpeechCommandsData
from tasks.feature_cache import store as store_module
from tasks.feature_cache.room import features_root, holdings, prune, room_to_grow
from tasks.feature_cache.store import FeatureStore
from tasks.feature_cache.waveforms import WaveformHashes
from tasks.ks import KS
from tasks.sid import SID

SHORT_KS = KS.presets["smoke"].model_copy(
    update={"total_steps": 9, "batch_size": 1, "eval_batch_size": 1, "eval_interval_steps": 3, "save_interval_steps": 3}
)
SHORT_ASR = ASR.presets["smoke"].model_copy(
    update={"total_steps": 6, "batch_size": 2, "eval_interval_steps": 3, "save_interval_steps": 3, "hidden_size": 8}
)


@pytest.fixture
def evaluate_ks(speech_commands: SpeechCommandsData, tmp_path: Path) -> Callable[..., Evaluation]:
    def evaluate(upstream: torch.nn.Module, workdir: str, **context: Any) -> Evaluation:
        return KS(SHORT_KS).evaluate(upstream, speech_commands, tmp_path / workdir, Context(**context))

    return evaluate


def packs() -> list[Path]:
    return sorted(features_root().rglob("*.safetensors"))


def losses(evaluation: Evaluation) -> list[float]:
    return [evaluation.settings[f"{split}_recipe_metrics"]["loss"] for split in ("dev", "test")]


class TestSameHead:
    def test_time_means_are_exact_for_pooled_heads(self, evaluate_ks: Any, make_upstream: Any) -> None:
        """In batches of one, which have no padding; the rest is linear."""
        cached = evaluate_ks(make_upstream(), "cached", protocol="cached")
        anew = evaluate_ks(make_upstream(), "s3prl", protocol="s3prl")
        assert losses(cached) == pytest.approx(losses(anew), rel=1e-6)
        assert [row["prediction"] for row in cached.predictions] == [row["prediction"] for row in anew.predictions]

    def test_frames_serve_the_others(self, librispeech: LibriSpeechData, make_upstream: Any, tmp_path: Path) -> None:
        alone = ASR(SHORT_ASR.model_copy(update={"batch_size": 1}))
        cached = alone.evaluate(make_upstream(), librispeech, tmp_path / "cached", Context(protocol="cached"))
        anew = alone.evaluate(make_upstream(), librispeech, tmp_path / "s3prl", Context(protocol="s3prl"))
        # The cache keeps half precision.
        assert losses(cached) == pytest.approx(losses(anew), rel=1e-3)

    def test_settings_tell_the_protocol(self, evaluate_ks: Any, make_upstream: Any) -> None:
        assert evaluate_ks(make_upstream(), "a", protocol="cached").settings["features"] == "means"
        assert evaluate_ks(make_upstream(), "b", protocol="s3prl").settings["protocol"] == "s3prl"


class TestComputedOnce:
    def test_another_head_needs_no_forward_pass(self, evaluate_ks: Any, make_upstream: Any) -> None:
        first = make_upstream()
        evaluate_ks(first, "first")
        assert first.lengths
        second = make_upstream()
        again = evaluate_ks(second, "second", seed=1)
        assert second.lengths == []
        assert again.settings["arguments"]["train"]["seed"] == 1

    def test_other_weights_share_nothing(self, evaluate_ks: Any, make_upstream: Any) -> None:
        evaluate_ks(make_upstream(), "first")
        other = make_upstream(seed=1)
        evaluate_ks(other, "other")
        assert other.lengths

    def test_every_utterance_is_computed_alone_and_whole(self, evaluate_ks: Any, make_upstream: Any) -> None:
        upstream = make_upstream()
        evaluate_ks(upstream, "w")
        assert set(upstream.lengths) == {6_400, 16_000, 8_000}

    def test_changed_audio_is_noticed(
        self, evaluate_ks: Any, make_upstream: Any, speech_commands: SpeechCommandsData
    ) -> None:
        evaluate_ks(make_upstream(), "first")
        clip = next((speech_commands.root / "yes").glob("*.wav"))
        samples = bytearray(clip.read_bytes())
        samples[-2:] = b"\x11\x11"
        clip.write_bytes(samples)
        os.utime(clip, (1, 1))
        upstream = make_upstream()
        evaluate_ks(upstream, "second")
        assert len(upstream.lengths) == 1

    def test_crops_stay_where_they_are_in_a_moved_corpus(self, make_upstream: Any, tmp_path: Path) -> None:
        rows = ["path,split,speaker"]
        for index, split in enumerate(["train"] * 4 + ["dev", "test"] * 2):
            name = f"{index}.wav"
            noise = np.random.RandomState(index).uniform(-0.5, 0.5, 16_000)
            (tmp_path / "here").mkdir(exist_ok=True)
            soundfile.write(tmp_path / "here" / name, noise, 16_000, subtype="PCM_16")
            rows.append(f"{name},{split},{'ab'[index // 2 % 2]}")
        (tmp_path / "here" / "speakers.csv").write_text("\n".join(rows))
        config = SID.presets["smoke"].model_copy(update={"total_steps": 2, "max_train_s": 0.5})
        first, second = make_upstream(), make_upstream()
        for upstream, folder in ((first, "here"), (second, "there")):
            data = ManifestData(manifest=tmp_path / folder / "speakers.csv")
            SID(config).evaluate(upstream, data, tmp_path / f"work {folder}", Context())
            if folder == "here":
                shutil.copytree(tmp_path / "here", tmp_path / "there")
        assert sorted(first.lengths) == [8_000] * 4 + [16_000] * 4
        assert second.lengths == []

    def test_interrupted_extraction_goes_on(
        self, evaluate_ks: Any, make_upstream: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.feature_cache.features.PACK_INTERVAL_S", 0.0)
        killed = make_upstream()
        killed.forwards_left = 5
        with pytest.raises(KeyboardInterrupt):
            evaluate_ks(killed, "w")
        whole, resumed = make_upstream(), make_upstream()
        result = evaluate_ks(resumed, "w")
        monkeypatch.setenv("SUPERB_BENCH_CACHE", str(features_root().parent / "other"))
        assert evaluate_ks(whole, "other") == result
        assert len(resumed.lengths) == len(whole.lengths) - 5

    @pytest.mark.parametrize("interval_s", [0.0, 3600.0])
    def test_hashes_of_an_interrupted_call_are_kept(
        self, interval_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.feature_cache.waveforms.WRITE_INTERVAL_S", interval_s)
        paths = [str(tmp_path / f"{index}.wav") for index in range(3)]
        for path in paths:
            Path(path).touch()
        hashes = WaveformHashes(tmp_path / "index", paths, "whole")
        hashes[2] = "a" * 64
        again = WaveformHashes(tmp_path / "index", paths, "whole")
        assert again.unknown() == ([0, 1] if interval_s == 0 else [0, 1, 2])
        hashes[0] = "b" * 64
        hashes.write()
        assert WaveformHashes(tmp_path / "index", paths, "whole").known() == {"b" * 64: 0, "a" * 64: 2}
        assert WaveformHashes(tmp_path / "index", paths, "cut").known() == {}


class TestDamage:
    @pytest.mark.parametrize("content", ["", "[", "{}", "[1, 2]", '["0123"]', '["X"]', "[" * 100_000, "TOO MANY"])
    def test_damaged_hashes_of_waveforms_are_found_again(self, content: str, tmp_path: Path) -> None:
        audio = tmp_path / "a.wav"
        audio.touch()
        hashes = WaveformHashes(tmp_path / "index", [str(audio)], "whole")
        hashes[0] = "a" * 64
        hashes.write()
        (index,) = (tmp_path / "index").iterdir()
        index.write_text(json.dumps(["a" * 64] * 2) if content == "TOO MANY" else content)
        assert WaveformHashes(tmp_path / "index", [str(audio)], "whole").unknown() == [0]

    @pytest.mark.parametrize("how", ["truncated", "empty", "changed", "no checksums"])
    def test_a_damaged_pack_is_computed_again(self, how: str, evaluate_ks: Any, make_upstream: Any) -> None:
        sound = evaluate_ks(make_upstream(), "first")
        damaged = packs()[0]
        content = damaged.read_bytes()
        if how == "no checksums":
            save_file(load_file(damaged), damaged)
        else:
            flipped = content[:-1] + bytes([content[-1] ^ 64])
            damaged.write_bytes({"truncated": content[:-100], "empty": b"", "changed": flipped}[how])
        upstream = make_upstream()
        assert evaluate_ks(upstream, "second") == sound
        assert upstream.lengths
        assert damaged not in packs()

    def test_a_pack_is_verified_once_and_again_when_touched(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        FeatureStore(tmp_path, {}).add({"a": torch.ones(3), "b": torch.zeros(3)})
        checked: list[Any] = []
        checksum = store_module._checksum
        monkeypatch.setattr(store_module, "_checksum", lambda tensor: checked.append(tensor) or checksum(tensor))
        for wanted in ("a", "b", "a"):
            assert FeatureStore(tmp_path, {}).find([wanted]) == set()
        assert len(checked) == 2
        (pack,) = tmp_path.glob("*.safetensors")
        status = pack.stat()
        content = pack.read_bytes()
        pack.write_bytes(content[:-1] + bytes([content[-1] ^ 64]))
        # A careful copy keeps the times, and must not hide the damage.
        os.utime(pack, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert FeatureStore(tmp_path, {}).find(["a"]) == {"a"}
        assert [path.name for path in tmp_path.iterdir()] == ["about.json"]

    def test_damage_is_told_once_and_what_replaces_it_is_found(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        # The head's checksums name a tensor that is not there.
        save_file({"x": torch.ones(3)}, tmp_path / "0.safetensors", metadata={"crc32": '{"a": 1}'})
        features = FeatureStore(tmp_path, {})
        assert features.find(["a"]) == {"a"}
        features.add({"a": torch.ones(3)})
        assert features.find(["a"]) == set()
        assert ["damaged" in message for message in caplog.messages] == [True]

    def test_a_pack_that_cannot_be_opened_now_is_missing_and_not_removed(self, tmp_path: Path) -> None:
        away = tmp_path / "0.safetensors"
        away.symlink_to(tmp_path / "disk that is not mounted" / "0.safetensors")
        assert FeatureStore(tmp_path, {}).find(["a"]) == {"a"}
        assert away.is_symlink()

    def test_a_recording_too_long_for_the_memory_is_named(
        self, evaluate_ks: Any, make_upstream: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upstream = make_upstream()
        monkeypatch.setattr(type(upstream), "forward", lambda *_: torch.empty(2**60, dtype=torch.uint8))
        with pytest.raises(UserError, match=r"memory for .*\.wav, of [\d.]+ s"):
            evaluate_ks(upstream, "w")

    def test_features_that_are_not_finite_are_told(self, evaluate_ks: Any, make_upstream: Any) -> None:
        upstream = make_upstream()
        with torch.no_grad():
            upstream.conv.bias.fill_(torch.inf)
        with pytest.raises(UserError, match="finite hidden states"):
            evaluate_ks(upstream, "w")
        assert packs() == []

    def test_many_writers_do_no_harm(self, tmp_path: Path) -> None:
        stores = [FeatureStore(tmp_path, {}) for _ in range(2)]
        for store in stores:
            store.add({"same": torch.ones(2, 3), f"own{id(store)}": torch.zeros(1)})
        for store in stores:
            assert store.find(["same", "absent"]) == {"absent"}
            assert torch.equal(store["same"], torch.ones(2, 3))


class TestRoom:
    @pytest.fixture
    def stores(self, tmp_path: Path) -> list[FeatureStore]:
        made = []
        for position, name in enumerate(("old", "middle", "new")):
            store = FeatureStore(tmp_path / name, {})
            store.add({name: torch.zeros(25_000)})
            os.utime(tmp_path / name / "about.json", (position, position))
            made.append(store)
        return made

    def test_what_was_used_longest_ago_goes_first(self, stores: list[FeatureStore], tmp_path: Path) -> None:
        assert [holding.folder.name for holding in holdings(tmp_path)] == ["old", "middle", "new"]
        assert prune(tmp_path, 250_000) > 100_000
        assert [holding.folder.name for holding in holdings(tmp_path)] == ["middle", "new"]

    def test_a_limit_makes_room_and_spares_the_store_that_grows(
        self, stores: list[FeatureStore], tmp_path: Path
    ) -> None:
        with room_to_grow(stores[0].folder, lambda: 50_000, limit_bytes=260_000):
            assert {holding.folder.name for holding in holdings(tmp_path)} == {"old", "new"}

    def test_what_cannot_fit_is_refused_before_anything_is_computed(
        self, evaluate_ks: Any, make_upstream: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upstream = make_upstream()
        with pytest.raises(UserError, match=r"--cache-limit.* need .* GB"):
            evaluate_ks(upstream, "w", cache_limit_bytes=1000)
        monkeypatch.setattr("tasks.feature_cache.room.SPARE_BYTES", 10**18)
        with pytest.raises(UserError, match=r"GB for features in .*Delete some"):
            evaluate_ks(upstream, "w")
        assert upstream.lengths == []


def test_a_full_disk_is_reported_with_the_file(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store", {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            store.add({"a": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(tmp_path / "store") in caught.value.filename
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["about.json"]
    assert store.find(["a"]) == {"a"}
