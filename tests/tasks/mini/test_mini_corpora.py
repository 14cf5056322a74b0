"""The corpora on disk: the same bytes every time, a true manifest, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.errors import UserError
from tasks.mini.corpora import CORPORA, MiniCorpora
from tasks.mini.randomness import GENERATOR_VERSION

MakeCorpora = Callable[..., MiniCorpora]


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder and the hash of its bytes."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


class TestDeterminism:
    @pytest.mark.slow
    def test_bytes_do_not_depend_on_the_number_of_processes(
        self, small_and_missing: MakeCorpora, tmp_path: Path
    ) -> None:
        made = []
        for num_processes in (1, 3):
            corpora = small_and_missing(num_processes=num_processes)
            corpora.prepare(["ks", "er"])
            made.append(contents(corpora.folder))
            shutil.rmtree(corpora.folder)
        assert len(made[0]) > 20
        assert made[0] == made[1]

    @pytest.mark.slow
    def test_an_utterance_does_not_depend_on_the_size_of_its_corpus(
        self, small_corpora: MiniCorpora, small_and_missing: MakeCorpora
    ) -> None:
        fewer = small_and_missing()
        fewer.prepare(["ks"])
        larger = {row["path"]: row for row in small_corpora.manifests()["ks"]}
        common = [row for row in fewer.manifests()["ks"] if row["path"] in larger and row["split"] == "test"]
        assert len(common) > 10
        assert all(row["sha256"] == larger[row["path"]]["sha256"] for row in common)

    def test_another_seed_is_another_version_with_other_audio(
        self, small_corpora: MiniCorpora, small_and_missing: MakeCorpora
    ) -> None:
        other = small_and_missing(seed=1)
        assert other.prepare(["ks"]).version == f"{GENERATOR_VERSION}-seed1-scale0.001"
        mine, theirs = ({row["sha256"] for row in corpora.manifests()["asr"]} for corpora in (small_corpora, other))
        assert not mine & theirs


class TestManifest:
    def test_tells_the_truth(self, small_corpora: MiniCorpora) -> None:
        for name, manifest in small_corpora.manifests().items():
            folder = small_corpora.folder / name
            assert {row["path"] for row in manifest} == {
                path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in {".wav", ".flac"}
            }
            for row in manifest:
                path = folder / row["path"]
                assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
                info = soundfile.info(path)
                assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
                assert float(row["duration_s"]) == pytest.approx(info.duration, abs=1e-3)

    def test_noise_level_is_heard(self, small_corpora: MiniCorpora) -> None:
        """In the first 50 ms of a sentence there is only noise: quieter where the manifest says so."""
        ratios, told = [], []
        for row in small_corpora.manifests()["asr"]:
            samples, _ = soundfile.read(small_corpora.folder / "asr" / row["path"])
            ratios.append(20 * np.log10(np.std(samples) / np.std(samples[:800])))
            told.append(float(row["snr_db"]))
        # Half of the noises fluctuate, and may be at any level just then.
        assert np.corrcoef(ratios, told)[0, 1] > 0.7

    def test_nothing_is_silent_or_clipped(self, small_corpora: MiniCorpora) -> None:
        for name, manifest in small_corpora.manifests().items():
            for row in manifest:
                samples, _ = soundfile.read(small_corpora.folder / name / row["path"])
                assert np.sqrt(np.mean(np.square(samples))) > 0.02
                assert np.abs(samples).max() < 0.96


class TestWholeOrNotAtAll:
    def test_complete_corpora_are_not_made_again(
        self, small_corpora: MiniCorpora, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "espeakng_loader", None)
        prepared = small_corpora.prepare()
        assert prepared.model_copy(update={"audio_sha256": {}}) == small_corpora.data()

    def test_killed_it_goes_on_where_it_was(self, small_and_missing: MakeCorpora, tmp_path: Path) -> None:
        corpora = small_and_missing()
        script = (
            "from pathlib import Path\n"
            "from tasks.mini.corpora import MiniCorpora\n"
            f"MiniCorpora(Path({str(corpora.folder)!r}), scale=0.02).prepare(['ks'])"
        )
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
        while len(list(corpora.folder.rglob("*.wav"))) < 20:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (corpora.folder / "ks").exists()
        (unfinished,) = corpora.folder.glob(".ks-*-unfinished")
        early = {path.relative_to(unfinished): path.stat().st_mtime_ns for path in unfinished.rglob("*.wav")}
        damaged = sorted(unfinished.rglob("*.wav"))[0]
        damaged.write_bytes(b"torn")
        resumed = MiniCorpora(corpora.folder, scale=0.02)
        resumed.prepare(["ks"])
        kept = [path for path, time_ns in early.items() if (resumed.folder / "ks" / path).stat().st_mtime_ns == time_ns]
        # The killed process may have been writing two files.
        assert len(early) - 3 <= len(kept) < len(early)
        uninterrupted = MiniCorpora(tmp_path / "uninterrupted", scale=0.02)
        uninterrupted.prepare(["ks"])
        assert contents(resumed.folder / "ks") == contents(uninterrupted.folder / "ks")
        assert not list(resumed.folder.glob("*/journal*"))

    def test_a_full_disk_is_told_and_nothing_is_in_place(
        self, small_and_missing: MakeCorpora, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        corpora = small_and_missing()

        def full_disk(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch, pytest.raises(UserError, match="No space left on device"):
            patch.setattr("tasks.mini.building.write_manifest", full_disk)
            corpora.prepare(["ks"])
        assert not [path for path in corpora.folder.iterdir() if not path.name.startswith(".")]
        corpora.prepare(["ks"])
        assert set(corpora.manifests()) == {"ks", "asr"}

    def test_two_processes_at_once_make_the_same_corpora(self, small_and_missing: MakeCorpora) -> None:
        corpora = small_and_missing(num_processes=1)
        context = multiprocessing.get_context("fork")
        together = [context.Process(target=corpora.prepare, args=(["ks"],)) for _ in range(2)]
        for process in together:
            process.start()
        for process in together:
            process.join()
        assert [process.exitcode for process in together] == [0, 0]
        corpora.prepare(["ks"])
        visible = {path.name for path in corpora.folder.iterdir() if not path.name.endswith(".lock")}
        assert visible == {"ks", "asr"}

    def test_what_another_version_left_unfinished_is_removed(self, small_and_missing: MakeCorpora) -> None:
        corpora = small_and_missing()
        other = corpora.folder / ".ks-0-seed0-0.1.0-unfinished"
        other.mkdir(parents=True)
        corpora.prepare(["ks"])
        assert not other.exists()

    def test_only_what_is_wanted_is_made(self, small_and_missing: MakeCorpora) -> None:
        corpora = small_and_missing()
        assert set(corpora.prepare(["ks"]).audio_sha256) == {"ks", "asr", "pr"}
        assert set(corpora.manifests()) == {"ks", "asr"}


class TestAudioHash:
    def test_is_of_the_audio(self, small_corpora: MiniCorpora, small_and_missing: MakeCorpora) -> None:
        hashes = small_corpora.prepare().audio_sha256
        assert set(hashes) == {corpus.name for corpus in CORPORA} | {"pr"}
        assert hashes.pop("pr") == hashes["asr"]
        assert len(set(hashes.values())) == len(hashes)
        others = small_and_missing().prepare(["ks"]).audio_sha256
        assert not set(hashes.values()) & set(others.values())

    def test_audio_that_differs_from_the_authors_is_told(
        self, small_corpora: MiniCorpora, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        hashes = small_corpora.prepare().audio_sha256
        theirs = {**hashes, "ks": "0" * 64}
        monkeypatch.setattr("tasks.mini.reference_audio.AUDIO_SHA256", {small_corpora.identity: theirs})
        small_corpora.prepare()
        (line,) = caplog.messages
        assert "mini ks corpus" in line
        assert "differs in bits" in line


class TestRefusals:
    @pytest.fixture
    def copy(self, small_corpora: MiniCorpora, tmp_path: Path) -> MiniCorpora:
        shutil.copytree(small_corpora.folder, tmp_path / "copy")
        return MiniCorpora(tmp_path / "copy", scale=0.05)

    def test_lost_audio(self, copy: MiniCorpora) -> None:
        lost = next(copy.folder.rglob("*.flac"))
        lost.unlink()
        with pytest.raises(UserError, match=f"lacks 1 files .*{lost.name}"):
            copy.prepare()

    @pytest.mark.parametrize("content", ["", "[]", '{"version"'])
    def test_damaged(self, copy: MiniCorpora, content: str) -> None:
        (copy.folder / "ks" / "corpus.json").write_text(content)
        with pytest.raises(UserError, match="damaged or not one"):
            copy.prepare()

    def test_another_version(self, copy: MiniCorpora) -> None:
        identity = json.loads((copy.folder / "ks" / "corpus.json").read_text())
        (copy.folder / "ks" / "corpus.json").write_text(json.dumps({**identity, "version": "0-seed0"}))
        with pytest.raises(UserError, match="'0-seed0'"):
            copy.prepare()

    def test_somebody_elses_folder(self, small_and_missing: MakeCorpora) -> None:
        corpora = small_and_missing()
        (corpora.folder / "ks").mkdir(parents=True)
        (corpora.folder / "ks" / "thesis.txt").write_text("mine")
        with pytest.raises(UserError, match="Delete that folder"):
            corpora.prepare()
        assert (corpora.folder / "ks" / "thesis.txt").exists()

    def test_no_room(self, tmp_path: Path, synthesizer_installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10 * 2**20))
        with pytest.raises(UserError, match=r"need \d+ MiB.* has 10 MiB free"):
            MiniCorpora(tmp_path / "corpora").prepare()

    def test_a_file_in_the_way(self, tmp_path: Path, synthesizer_installed: None) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="cannot be written below"):
            MiniCorpora(tmp_path / "file").prepare()


class TestWhere:
    def test_cache_follows_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path))
        data = MiniCorpora().data()
        assert data.version == MiniCorpora.version == f"{GENERATOR_VERSION}-seed0"
        assert data.tasks["asr"]["root"] == tmp_path / "mini" / data.version / "asr" / "LibriSpeech"
        assert data.audio is not None
        assert data.audio.root == data.tasks["asr"]["root"]
        assert list(tmp_path.iterdir()) == []
