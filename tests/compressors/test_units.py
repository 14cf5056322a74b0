# ruff: noqa: RUF001 - IPA looks like other letters
"""Units: MFCCs and clusters against torchaudio and scikit-learn, phones against their times, what is kept on disk."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin
from torchaudio.compliance.kaldi import mfcc

from bench.audio.files import AudioFile, find_audio, read_header, read_headers, read_waveform
from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.upstream.config import uniform_config
from bench.upstream.random_shapes import random_model
from compressors.pretraining.annotations import folded, phone_units, speaker_units
from compressors.units import kmeans
from compressors.units.clusters import cluster_units, nearest_units
from compressors.units.frame_features import Features, HiddenFeatures, MfccFeatures, aligned_mfcc
from compressors.units.gathering import GatheredFeatures
from compressors.units.kmeans import fitted_centroids, rows_of
from compressors.units.labels import perplexity

SHAPE = uniform_config("hubert", 16, 2, 2, 16, conv_channels=8, positional_kernel=8)


@pytest.fixture
def files(speech_folder: Path) -> list[AudioFile]:
    return read_headers(find_audio(speech_folder))


class TestMfcc:
    def test_frames_hear_what_the_models_frames_hear(self) -> None:
        """MFCCs of the model's window alone are the frame's: the first 13 know no neighbours."""
        waveform = torch.randn(9000, generator=torch.Generator().manual_seed(0))
        features = aligned_mfcc(waveform, SHAPE)
        assert features.shape == (SHAPE.num_frames(9000), 39)
        for frame in (0, 1, 13, len(features) - 1):
            window = waveform[320 * frame : 320 * frame + 400]
            alone = mfcc(window[None], sample_frequency=16_000, use_energy=False)[0]
            np.testing.assert_allclose(features[frame, :13], alone.numpy(), atol=1e-3)

    def test_a_click_is_in_the_frames_that_the_model_hears_it_in(self) -> None:
        waveform = torch.zeros(16_000)
        waveform[8000] = 1.0
        loud = aligned_mfcc(waveform, SHAPE)[:, 0]
        heard = {frame for frame in range(len(loud)) if 320 * frame <= 8000 < 320 * frame + 400}
        assert set(np.flatnonzero(loud > loud.min() + 1)) == heard

    @pytest.mark.parametrize("num_samples", [400, 719, 720, 721, 16_000, 16_081])
    def test_there_are_as_many_as_the_models(self, num_samples: int) -> None:
        assert len(aligned_mfcc(torch.randn(num_samples), SHAPE)) == SHAPE.num_frames(num_samples)

    def test_differences_are_regression_slopes(self) -> None:
        """First differences by their definition (HTK book, equation 5.16, window 2), on 10-ms frames."""
        waveform = torch.randn(8000, generator=torch.Generator().manual_seed(0))
        coefficients = mfcc(waveform[None], sample_frequency=16_000, use_energy=False).numpy()
        frame = 10
        slope = sum(n * (coefficients[2 * frame + n] - coefficients[2 * frame - n]) for n in (1, 2)) / 10
        np.testing.assert_allclose(aligned_mfcc(waveform, SHAPE)[frame, 13:26], slope, atol=1e-3)


class TestHidden:
    def test_are_the_models_states(self, files: list[AudioFile]) -> None:
        model = random_model(SHAPE)
        for file, features in zip(files, HiddenFeatures(model, 1, Context()).of(files), strict=True):
            states, _ = model(torch.from_numpy(read_waveform(file))[None])
            np.testing.assert_allclose(features, states[1][0].detach().numpy(), atol=1e-5)

    def test_long_files_are_heard_in_stretches(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "long.wav", 0.1 * np.random.default_rng(0).standard_normal(16_000 * 61), 16_000)
        file = read_header(tmp_path / "long.wav")
        (features,) = HiddenFeatures(random_model(SHAPE), 2, Context()).of([file])
        assert len(features) == SHAPE.num_frames(file.num_samples) > 3000


class TestClusters:
    def test_are_scikit_learns(self) -> None:
        features = np.random.default_rng(0).standard_normal((3000, 5)).astype(np.float32)
        expected = MiniBatchKMeans(
            6,
            batch_size=10_000,
            n_init=20,
            random_state=3,
            tol=0.0,
            max_no_improvement=100,
            reassignment_ratio=0.0,
            compute_labels=False,
        ).fit(features)
        centroids = fitted_centroids(features, 6, seed=3)
        np.testing.assert_allclose(centroids, expected.cluster_centers_, atol=1e-4)
        distances = ((features[:, None] - centroids) ** 2).sum(-1)
        np.testing.assert_array_equal(nearest_units(features, centroids), distances.argmin(1))

    def test_frames_have_the_labels_of_scikit_learn_one_by_one_or_together(self) -> None:
        random = np.random.default_rng(0)
        features, centroids = (random.standard_normal((count, 24)).astype(np.float32) + 5 for count in (2000, 300))
        labels = nearest_units(features, centroids)
        np.testing.assert_array_equal(labels, pairwise_distances_argmin(features, centroids))
        for first in range(0, 2000, 7):
            np.testing.assert_array_equal(nearest_units(features[first : first + 7], centroids), labels[first:][:7])

    def test_files_are_labelled_together(
        self, files: list[AudioFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = []

        def counted(features: Features, *others: Any) -> Any:
            calls.append(len(features))
            return nearest_units(features, *others)

        monkeypatch.setattr("compressors.units.clusters.nearest_units", counted)
        arguments: dict[str, Any] = {"config": SHAPE, "share": 1.0, "seed": 0}
        together = cluster_units(_Counting(), 5, files, folder=tmp_path / "together", **arguments)
        assert calls == [sum(SHAPE.num_frames(file.num_samples) for file in files)]
        monkeypatch.setattr("compressors.units.clusters.FRAMES_A_BATCH", 1)
        alone = cluster_units(_Counting(), 5, files, folder=tmp_path / "alone", **arguments)
        assert len(calls) == 1 + len(files)
        for file in files:
            np.testing.assert_array_equal(together.labels[file.path], alone.labels[file.path])

    def test_k_means_sees_a_bounded_sample_of_frames(
        self, files: list[AudioFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("compressors.units.gathering.SECONDS_BETWEEN_NOTES", 0.0)
        everything = np.concatenate(list(MfccFeatures(SHAPE).of(files)))
        monkeypatch.setattr("compressors.units.gathering.MOST_FRAMES", 50)
        samples = [
            np.array(GatheredFeatures(tmp_path / name, MfccFeatures(SHAPE), files, SHAPE, seed).all())
            for name, seed in (("one", 0), ("same", 0), ("other", 1))
        ]
        with pytest.raises(KeyError):
            GatheredFeatures(tmp_path / "again", _Counting(stops_at=3), files, SHAPE, 0).all()
        resumed = GatheredFeatures(tmp_path / "again", _Counting(), files, SHAPE, 0).all()
        places = {row.tobytes(): place for place, row in enumerate(everything)}
        chosen = [places[row.tobytes()] for row in samples[0]]
        assert len(chosen) == len(set(chosen)) == 50
        assert chosen == sorted(chosen)
        for found, is_same in ((samples[1], True), (resumed, True), (samples[2], False)):
            assert np.array_equal(found, samples[0]) == is_same

    def test_the_disk_is_checked_before_frames_are_gathered(
        self,
        files: list[AudioFile],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level("INFO")
        counting = _Counting()
        full = shutil.disk_usage(tmp_path)._replace(free=1000)
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "disk_usage", lambda _path: full)
            with pytest.raises(UserError, match=r"Expected 0.2 GB .*Found 0.0 GB"):
                cluster_units(counting, 5, files, config=SHAPE, share=1.0, seed=0, folder=tmp_path / "units")
        assert counting.computed == 0
        assert str(tmp_path / "units") in caplog.text

    def test_rows_are_read_in_the_order_of_the_file(self) -> None:
        asked = []

        class Rows(np.ndarray):  # type: ignore[type-arg]
            def __getitem__(self, places: Any) -> Any:
                asked.append(list(places))
                return super().__getitem__(places)

        features = np.arange(20, dtype=np.float32).reshape(10, 2)
        places = np.array([7, 0, 7, 3])
        np.testing.assert_array_equal(rows_of(features.view(Rows), places), features[places])
        assert asked == [[0, 3, 7, 7]]

    def test_label_every_frame_once_and_are_kept(self, files: list[AudioFile], tmp_path: Path) -> None:
        counting = _Counting()
        made = [
            cluster_units(counting, 5, files, config=SHAPE, share=0.5, seed=0, folder=tmp_path / "units")
            for _ in range(2)
        ]
        assert counting.computed == 3 + 6  # Half of the files for the clusters, all for the labels, nothing again.
        for file in files:
            labels = made[0].labels[file.path]
            assert len(labels) == SHAPE.num_frames(file.num_samples)
            assert set(labels) <= set(range(5))
            np.testing.assert_array_equal(labels, made[1].labels[file.path])
        assert not [path for path in (tmp_path / "units").iterdir() if path.name.startswith((".", "tmp"))]

    def test_an_interrupted_labelling_goes_on(
        self, files: list[AudioFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("compressors.units.clusters.SECONDS_A_SHARD", 0.0)
        monkeypatch.setattr("compressors.units.gathering.SECONDS_BETWEEN_NOTES", 0.0)
        whole = cluster_units(_Counting(), 5, files, config=SHAPE, share=1.0, seed=0, folder=tmp_path / "whole")
        with pytest.raises(KeyError):
            cluster_units(
                _Counting(stops_at=6 + 3), 5, files, config=SHAPE, share=1.0, seed=0, folder=tmp_path / "again"
            )
        rest = _Counting()
        resumed = cluster_units(rest, 5, files, config=SHAPE, share=1.0, seed=0, folder=tmp_path / "again")
        assert rest.computed == 3
        for file in files:
            np.testing.assert_array_equal(resumed.labels[file.path], whole.labels[file.path])

    def test_interrupted_every_few_steps_they_end_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        features = np.random.default_rng(0).standard_normal((3000, 5)).astype(np.float32)
        whole = fitted_centroids(features, 6, seed=3)
        monkeypatch.setattr(kmeans, "SECONDS_BETWEEN_SAVES", 0.0)
        step = kmeans._advance
        calls = itertools.count(1)

        def interrupted(*arguments: Any) -> bool:
            if next(calls) % 9 == 0:
                raise KeyboardInterrupt
            return step(*arguments)

        monkeypatch.setattr(kmeans, "_advance", interrupted)
        times = 0
        while True:
            try:
                found = fitted_centroids(features, 6, 3, tmp_path / "kmeans.npz")
                break
            except KeyboardInterrupt:
                times += 1
        assert times > 3
        np.testing.assert_array_equal(found, whole)

    def test_killed_while_features_are_gathered_nothing_is_computed_twice(
        self, files: list[AudioFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("compressors.units.gathering.SECONDS_BETWEEN_NOTES", 0.0)
        arguments: dict[str, Any] = {"config": SHAPE, "share": 1.0, "seed": 0}
        whole = cluster_units(_Counting(), 5, files, folder=tmp_path / "whole", **arguments)
        with pytest.raises(KeyError):
            cluster_units(_Counting(stops_at=4), 5, files, folder=tmp_path / "again", **arguments)
        rest = _Counting()
        resumed = cluster_units(rest, 5, files, folder=tmp_path / "again", **arguments)
        assert rest.computed == 2 + 6
        for file in files:
            np.testing.assert_array_equal(resumed.labels[file.path], whole.labels[file.path])

    def test_more_clusters_than_frames_are_refused(self, files: list[AudioFile], tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"^Expected at least 20000 frames .* Found \d+ in 6 files"):
            cluster_units(_Counting(), 20_000, files, config=SHAPE, share=1.0, seed=0, folder=tmp_path)


class _Counting(MfccFeatures):
    """MFCCs that count the files they were computed of."""

    def __init__(self, stops_at: int | None = None) -> None:
        super().__init__(SHAPE)
        self.computed = 0
        self.stops_at = stops_at

    def of(self, files: Sequence[AudioFile]) -> Iterator[Features]:
        for features in super().of(files):
            if self.computed == self.stops_at:
                raise KeyError("stopped here")
            self.computed += 1
            yield features


class TestPhones:
    @pytest.fixture
    def source(self, tmp_path: Path) -> AudioSource:
        soundfile.write(tmp_path / "one.wav", 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
        (tmp_path / "manifest.csv").write_text("path,speaker\none.wav,anna\n")
        self._write(tmp_path, [[0.11, 0.3, "ˈɑː"], [0.3, 0.31, "ɑ"], [0.51, 0.9, "s"]])
        return AudioSource(layout="manifest", manifest=tmp_path / "manifest.csv")

    def _write(self, folder: Path, phones: object) -> None:
        (folder / "phones.jsonl").write_text(json.dumps({"path": "one.wav", "phones": phones}) + "\n")

    def test_a_frame_has_the_phone_that_is_heard_at_its_centre(self, source: AudioSource, tmp_path: Path) -> None:
        file = read_header(tmp_path / "one.wav")
        units = phone_units([file], source, SHAPE)
        assert units.names == ("silence", "rare", "s", "ɑ")
        for frame, label in enumerate(units.labels[file.path]):
            centre_s = (320 * frame + 200) / 16_000
            expected = "ɑ" if 0.11 <= centre_s < 0.31 else "s" if 0.51 <= centre_s < 0.9 else "silence"
            assert units.names[label] == expected, frame

    def test_variants_of_accents_are_one_class(self) -> None:
        assert {folded(phone) for phone in ("oʊ", "ˈəʊ", "ˌəu")} == {"oʊ"}
        assert {folded(phone) for phone in ("ɹ", "r")} == {"ɹ"}
        assert folded("ˈæ") != folded("ɛ")

    def test_rare_phones_share_a_unit(self, source: AudioSource, tmp_path: Path) -> None:
        many = [[index / 4000, (index + 1) / 4000, "s"] for index in range(3000)]
        self._write(tmp_path, [*many, [0.8, 0.9, "ʘ"]])
        file = read_header(tmp_path / "one.wav")
        units = phone_units([file], source, SHAPE)
        assert units.names == ("silence", "rare", "s")
        assert units.names[units.labels[file.path][42]] == "rare"  # At 0.8525 s.

    def test_without_a_file_or_a_line_of_phones_it_is_said(self, source: AudioSource, tmp_path: Path) -> None:
        file = read_header(tmp_path / "one.wav")
        (tmp_path / "phones.jsonl").write_text('{"path": "two.wav", "phones": []}\n')
        with pytest.raises(UserError, match=r"^Expected the phones of .*one.wav in .*phones.jsonl. Found none"):
            phone_units([file], source, SHAPE)
        (tmp_path / "phones.jsonl").write_text('{"path": "one.wav", "phones": [[0.1, "s"]]}\n')
        with pytest.raises(UserError, match=r"in line 1 of .*phones.jsonl. Found phones.0"):
            phone_units([file], source, SHAPE)
        (tmp_path / "phones.jsonl").unlink()
        with pytest.raises(UserError, match=r"units=phones. Found no such file. Make speech with `bench data synth"):
            phone_units([file], source, SHAPE)

    def test_speakers_are_the_manifests(self, source: AudioSource, tmp_path: Path) -> None:
        file = read_header(tmp_path / "one.wav")
        units = speaker_units([file], source, SHAPE)
        assert units.names == ("anna",)
        assert units.labels[file.path].tolist() == [0] * 49
        with pytest.raises(
            UserError, match=r"^Expected audio with layout manifest for units=speakers. Found .* folder"
        ):
            speaker_units([file], AudioSource(root=tmp_path), SHAPE)


def test_perplexity_of_equally_likely_units_is_their_number() -> None:
    assert perplexity(np.array([0.25, 0.25, 0.0, 0.5])) == pytest.approx(2**1.5)
    assert perplexity(np.full(9, 1 / 9)) == pytest.approx(9)
