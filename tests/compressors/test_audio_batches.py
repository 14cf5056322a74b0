"""From an `AudioSource` to batches of crops: what is found, what is refused, what a batch depends on."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.audio.files import AudioFile, read_headers, read_waveform
from bench.contracts import AudioSource
from bench.errors import UserError
from compressors.dphubert import compressor as dphubert
from compressors.low_rank import compressor as low_rank
from compressors.prune_only import compressor as prune_only
from compressors.settings import TrainingConfig
from compressors.training.crops import CropBatches
from compressors.training.files import audio_hash, training_files

SHORTEST_SAMPLES = 400
CONFIG = TrainingConfig(min_duration_s=0.5, max_duration_s=2.0, seconds_per_batch=4.0)


def _write(path: Path, seconds: float, seed: int = 0, rate_hz: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate_hz)).astype(np.float32)
    soundfile.write(path, samples, rate_hz, subtype="PCM_16")
    return path


def _names(files: list[AudioFile]) -> list[str]:
    return [file.path.stem for file in files]


def _source(root: Path, seconds: float, hours_seed: int = 0) -> AudioSource:
    return AudioSource(root=root, hours=seconds / 3600, hours_seed=hours_seed)


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    for split, reader in (("train-clean-100", "19"), ("train-other-500", "20"), ("test-clean", "61")):
        _write(tmp_path / split / reader / "7" / f"{reader}-7-0000.flac", 1.0)
    (tmp_path / "SPEAKERS.TXT").write_text("; no audio\n")
    return tmp_path


@pytest.fixture
def files(tmp_path: Path) -> list[AudioFile]:
    lengths_s = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.5, 1.6, 2.5, 5.0)
    return read_headers([_write(tmp_path / f"{index}.wav", length, index) for index, length in enumerate(lengths_s)])


class TestSources:
    def test_librispeech_takes_the_training_splits_alone(self, librispeech: Path) -> None:
        source = AudioSource(layout="librispeech", root=librispeech)
        assert _names(training_files(source, CONFIG, SHORTEST_SAMPLES)) == ["19-7-0000", "20-7-0000"]

    def test_named_splits_are_taken(self, librispeech: Path) -> None:
        source = AudioSource(layout="librispeech", root=librispeech, splits=("test-clean",))
        assert _names(training_files(source, CONFIG, SHORTEST_SAMPLES)) == ["61-7-0000"]

    def test_a_missing_split_is_named_with_what_is_there(self, librispeech: Path) -> None:
        source = AudioSource(layout="librispeech", root=librispeech, splits=("train-clean-360",))
        with pytest.raises(UserError, match=r"'train-clean-360'.*test-clean, train-clean-100, train-other-500"):
            training_files(source, CONFIG, SHORTEST_SAMPLES)

    def test_librispeech_without_training_splits_is_refused(self, tmp_path: Path) -> None:
        _write(tmp_path / "dev-clean" / "a.wav", 1.0)
        with pytest.raises(UserError, match="train-"):
            training_files(AudioSource(layout="librispeech", root=tmp_path), CONFIG, SHORTEST_SAMPLES)

    def test_a_folder_is_searched_wholly(self, librispeech: Path) -> None:
        assert len(training_files(AudioSource(root=librispeech), CONFIG, SHORTEST_SAMPLES)) == 3

    def test_a_missing_root_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="nowhere"):
            training_files(AudioSource(root=tmp_path / "nowhere"), CONFIG, SHORTEST_SAMPLES)
        with pytest.raises(UserError, match="root"):
            training_files(AudioSource(layout="folder"), CONFIG, SHORTEST_SAMPLES)

    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    def test_a_manifest_is_read_relative_to_itself(self, tmp_path: Path, kind: str) -> None:
        rows = [{"path": "audio/001.wav", "split": "train"}, {"path": "audio/002.wav", "split": "test"}]
        for row in rows:
            _write(tmp_path / row["path"], 1.0)
        manifest = tmp_path / f"data.{kind}"
        if kind == "csv":
            manifest.write_text("path,split\n" + "".join(f"{row['path']},{row['split']}\n" for row in rows))
        else:
            manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = AudioSource(layout="manifest", manifest=manifest)
        assert _names(training_files(source, CONFIG, SHORTEST_SAMPLES)) == ["001"]
        both = source.model_copy(update={"splits": ("train", "test")})
        assert _names(training_files(both, CONFIG, SHORTEST_SAMPLES)) == ["001", "002"]

    @pytest.mark.parametrize(
        ("content", "splits", "message"),
        [
            ("file,split\na.wav,train\n", (), "column `path`"),
            ("path\na.wav\n", ("train",), "column `split`"),
            ("path,split\na.wav,train\n", ("dev",), "rows of split dev"),
            ("path\n", (), "Expected rows"),
            ("", (), "empty file"),
            ('path\n"a.wav\n', (), "line 2 of"),
            ("path\nmissing.wav\n", (), "missing.wav is missing"),
        ],
    )
    def test_a_wrong_manifest_is_refused(
        self, tmp_path: Path, content: str, splits: tuple[str, ...], message: str
    ) -> None:
        manifest = tmp_path / "data.csv"
        manifest.write_text(content)
        with pytest.raises(UserError, match=message):
            training_files(AudioSource(layout="manifest", manifest=manifest, splits=splits), CONFIG, SHORTEST_SAMPLES)

    def test_a_manifest_of_no_known_form_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "data.jsonl").write_text("no json\n")
        with pytest.raises(UserError, match="line 1 of"):
            training_files(AudioSource(layout="manifest", manifest=tmp_path / "data.jsonl"), CONFIG, SHORTEST_SAMPLES)
        with pytest.raises(UserError, match="no file at"):
            training_files(AudioSource(layout="manifest", manifest=tmp_path / "none.csv"), CONFIG, SHORTEST_SAMPLES)

    def test_another_sample_rate_is_refused_or_resampled(self, tmp_path: Path) -> None:
        _write(tmp_path / "a.wav", 1.0, rate_hz=8000)
        with pytest.raises(UserError, match="8000 Hz"):
            training_files(AudioSource(root=tmp_path), CONFIG, SHORTEST_SAMPLES)
        files = training_files(AudioSource(root=tmp_path, resample=True), CONFIG, SHORTEST_SAMPLES)
        assert CropBatches(files, CONFIG, 0)[0].waveforms.shape == (1, 16_000)

    def test_short_files_are_left_out_and_counted(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        _write(tmp_path / "short.wav", 0.4)
        _write(tmp_path / "long.wav", 1.0)
        assert _names(training_files(AudioSource(root=tmp_path), CONFIG, SHORTEST_SAMPLES)) == ["long"]
        assert "1 of 2 files are too short" in caplog.text

    def test_nothing_long_enough_is_refused(self, tmp_path: Path) -> None:
        _write(tmp_path / "short.wav", 0.4)
        with pytest.raises(UserError, match=r"at least 0.5 s.*longest of 0.40 s.*min_duration_s"):
            training_files(AudioSource(root=tmp_path), CONFIG, SHORTEST_SAMPLES)

    def test_longer_files_are_left_out_where_the_recipe_does(
        self, files: list[AudioFile], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        config = CONFIG.model_copy(update={"drop_longer": True})
        kept = training_files(AudioSource(root=tmp_path), config, SHORTEST_SAMPLES)
        assert len(kept) == len(files) - 2
        assert max(file.duration_s for file in kept) <= 2.0
        assert "2 of 10 files are over 2 s" in caplog.text
        with pytest.raises(UserError, match=r"at most 0.55 s. Found 10 longer files .* drop_longer=false"):
            short = config.model_copy(update={"max_duration_s": 0.55})
            training_files(AudioSource(root=tmp_path), short, SHORTEST_SAMPLES)

    @pytest.mark.parametrize("config", [dphubert.PAPER, low_rank.PAPER, prune_only.PAPER])
    def test_the_paper_presets_of_dphuberts_recipe_do(self, config: TrainingConfig) -> None:
        assert (config.drop_longer, config.max_duration_s) == (True, 15.625)

    def test_files_too_short_for_a_frame_are_left_out_whatever_the_configuration(self, tmp_path: Path) -> None:
        _write(tmp_path / "short.wav", 0.02)
        config = CONFIG.model_copy(update={"min_duration_s": 0.001})
        with pytest.raises(UserError, match=r"at least 0.025 s"):
            training_files(AudioSource(root=tmp_path), config, SHORTEST_SAMPLES)

    def test_fewer_hours_are_part_of_more(self, tmp_path: Path, files: list[AudioFile]) -> None:
        heard = {
            seconds: _names(training_files(_source(tmp_path, seconds), CONFIG, SHORTEST_SAMPLES))
            for seconds in (4, 8, 12)
        }
        assert set(heard[4]) < set(heard[8]) < set(heard[12]) < set(_names(files))
        for seconds, names in heard.items():
            drawn = [file.duration_s for file in files if file.path.stem in names]
            assert seconds - max(file.duration_s for file in files) < sum(drawn) <= seconds
            assert names == sorted(names)

    def test_the_seed_decides_which_hours(self, tmp_path: Path, files: list[AudioFile]) -> None:
        draws = [
            _names(training_files(_source(tmp_path, 8, hours_seed=seed), CONFIG, SHORTEST_SAMPLES))
            for seed in (0, 0, 1)
        ]
        assert draws[0] == draws[1] != draws[2]

    def test_all_hours_are_all_files_and_more_are_refused(self, tmp_path: Path, files: list[AudioFile]) -> None:
        seconds = sum(file.duration_s for file in files)
        assert training_files(_source(tmp_path, seconds), CONFIG, SHORTEST_SAMPLES) == files
        with pytest.raises(UserError, match=r"Expected 0\.01 hours of audio\. Found 0\.00\d+ in"):
            training_files(_source(tmp_path, 36), CONFIG, SHORTEST_SAMPLES)
        with pytest.raises(UserError, match="at least one file"):
            training_files(_source(tmp_path, 0.1), CONFIG, SHORTEST_SAMPLES)

    def test_the_hash_tells_one_choice_of_audio_from_another(self, files: list[AudioFile]) -> None:
        assert audio_hash(files) == audio_hash(list(files))
        assert len({audio_hash(files), audio_hash(files[1:]), audio_hash(files[::-1])}) == 3


class TestBatches:
    def test_every_utterance_is_heard_once_an_epoch(self, files: list[AudioFile]) -> None:
        batches = CropBatches(files, CONFIG, seed=0)
        assert sum(len(batches[index].waveforms) for index in range(batches.num_batches)) == len(files)

    def test_batches_hold_no_more_than_they_may_and_crops_of_one_length(self, files: list[AudioFile]) -> None:
        batches = CropBatches(files, CONFIG, seed=0)
        shapes = [tuple(batches[index].waveforms.shape) for index in range(batches.num_batches)]
        assert all(count * samples <= 4.0 * 16_000 for count, samples in shapes)
        # 0.6 + 0.7 + 0.8 + 0.9 + 1.0 s fill a batch of 4 s and are cropped to 0.6 s; two of 2 s fill the last.
        assert sorted(shapes) == sorted([(5, 9600), (2, 17_600), (2, 25_600), (1, 32_000)])

    def test_similar_lengths_share_a_batch(self, files: list[AudioFile]) -> None:
        batches = CropBatches(files, CONFIG, 0)
        planned = [batches.files_of(position) for position in range(batches.num_batches)]
        ranges = [(batch[0].num_samples, batch[-1].num_samples) for batch in planned]
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(ranges))

    def test_crops_are_stretches_of_their_files(self, files: list[AudioFile]) -> None:
        batches = CropBatches(files, CONFIG, seed=0)
        whole = [read_waveform(file) for file in files]
        for index in range(batches.num_batches):
            for crop in batches[index].waveforms.numpy():
                assert any(
                    np.array_equal(samples[start : start + len(crop)], crop)
                    for samples in whole
                    for start in np.flatnonzero(samples == crop[0])
                )

    def test_long_utterances_are_heard_from_changing_places(self, tmp_path: Path) -> None:
        files = read_headers([_write(tmp_path / "long.wav", 30.0)])
        batches = CropBatches(files, CONFIG, seed=0)
        starts = {float(batches[index].waveforms[0, 0]) for index in range(20)}
        assert len(starts) > 15

    def test_a_batch_depends_on_the_seed_and_its_number_alone(self, files: list[AudioFile]) -> None:
        first, second = CropBatches(files, CONFIG, seed=1), CropBatches(files, CONFIG, seed=1)
        in_order = [first[index].waveforms for index in range(12)]
        for index in reversed(range(12)):
            assert second[index].number == index
            assert second[index].waveforms.equal(in_order[index])
        other = CropBatches(files, CONFIG, seed=2)
        assert any(not other[index].waveforms.equal(in_order[index]) for index in range(12))

    def test_each_epoch_has_an_order_of_its_own(self, files: list[AudioFile]) -> None:
        batches = CropBatches(files, CONFIG, seed=0)
        count = batches.num_batches
        orders = {
            tuple(batches[epoch * count + position].waveforms.shape for position in range(count)) for epoch in range(8)
        }
        assert len(orders) > 3

    @pytest.mark.real_speech
    def test_real_speech_in_librispeechs_layout(self, real_speech: Path) -> None:
        source = AudioSource(layout="librispeech", root=real_speech / "librispeech")
        config = TrainingConfig(seconds_per_batch=16.0)
        files = training_files(source, config, SHORTEST_SAMPLES)
        assert all("train-clean-100" in str(file.path) for file in files)
        waveforms = CropBatches(files, config, 0)[0].waveforms
        assert 16.0 * 0.7 < waveforms.numel() / 16_000 <= 16.0
        assert 0.01 < waveforms.std() < 1.0
