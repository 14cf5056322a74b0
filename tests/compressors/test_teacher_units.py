"""Units of a teacher: clusters of the right state, found once for all who want the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.audio.files import AudioFile, find_audio, read_headers, read_waveform
from bench.cache_folder import units_root
from bench.contracts import Context
from bench.errors import UserError
from bench.testing import write_speech
from compressors.settings import TeacherUnitsConfig
from compressors.units.frame_features import HiddenFeatures
from compressors.units.kmeans import fitted_centroids
from compressors.units.labels import FrameUnits
from compressors.units.teacher_units import cluster_layer, require_units, teacher_units
from tests.helpers.method_checks import tiny_teacher


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[AudioFile]:
    monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "speech").mkdir()
    write_speech(tmp_path / "speech")
    return read_headers(find_audio(tmp_path / "speech"))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[AudioFile]:
    """What a teacher computes features of, from now on."""
    files: list[AudioFile] = []
    of = HiddenFeatures.of

    def counting(self: HiddenFeatures, chosen: Any) -> Any:
        files.extend(chosen)
        return of(self, chosen)

    monkeypatch.setattr(HiddenFeatures, "of", counting)
    return files


def _config(**changes: Any) -> TeacherUnitsConfig:
    return TeacherUnitsConfig.model_validate({"num_clusters": 5, "kmeans_share": 1.0, **changes})


def _units(files: list[AudioFile], teacher_seed: int = 0, seed: int = 0, **changes: Any) -> FrameUnits:
    return teacher_units(tiny_teacher(teacher_seed), files, _config(**changes), 0, Context(seed=seed))


class TestLayer:
    @pytest.mark.parametrize(("num_layers", "layer"), [(12, 9), (24, 18), (3, 2), (1, 1)])
    def test_lies_at_three_quarters_of_the_depth(self, num_layers: int, layer: int) -> None:
        assert cluster_layer(_config(), num_layers) == layer

    def test_may_be_another(self) -> None:
        assert cluster_layer(_config(cluster_layer=6), 12) == 6
        with pytest.raises(UserError, match=r"from 1 to 3.*Found cluster_layer=4"):
            cluster_layer(_config(cluster_layer=4), 3)


class TestUnits:
    @pytest.mark.parametrize("layer", [2, 3])
    def test_are_the_nearest_clusters_of_the_state(self, files: list[AudioFile], layer: int) -> None:
        teacher = tiny_teacher()
        with torch.no_grad():
            states = [teacher(torch.from_numpy(read_waveform(file))[None])[0][layer][0].numpy() for file in files]
        centroids = fitted_centroids(np.concatenate(states), 5, seed=0)
        units = _units(files, cluster_layer=layer)
        for file, state in zip(files, states, strict=True):
            distances = ((state[:, None] - centroids) ** 2).sum(-1)
            assert (units.labels[file.path] == distances.argmin(1)).mean() > 0.99

    def test_are_shared_by_the_seeds_of_a_run(self, files: list[AudioFile], heard: list[AudioFile]) -> None:
        first = _units(files, seed=0)
        assert len(heard) == 2 * len(files)
        second = _units(files, seed=1)
        assert len(heard) == 2 * len(files)
        for file in files:
            np.testing.assert_array_equal(first.labels[file.path], second.labels[file.path])

    @pytest.mark.parametrize(
        "changes", [{"cluster_layer": 1}, {"num_clusters": 6}, {"kmeans_seed": 1}, {"teacher_seed": 1}], ids=str
    )
    def test_are_anothers_where_anything_differs(
        self, files: list[AudioFile], heard: list[AudioFile], changes: dict[str, int]
    ) -> None:
        _units(files)
        _units(files, **changes)
        assert len(heard) == 4 * len(files)
        assert len([path for path in units_root().iterdir() if path.is_dir()]) == 2

    def test_notice_a_changed_file(self, files: list[AudioFile], heard: list[AudioFile]) -> None:
        _units(files)
        os.utime(files[0].path, (1, 1))
        _units(files)
        assert len(heard) == 4 * len(files)

    def test_need_as_many_frames(self, files: list[AudioFile]) -> None:
        with pytest.raises(UserError, match=r"at least 2000 frames.*fewer clusters"):
            require_units(tiny_teacher(), files, _config(num_clusters=2000))
        num_frames = sum(tiny_teacher().config.num_frames(file.num_samples) for file in files)
        require_units(tiny_teacher(), files, _config(num_clusters=num_frames))
        with pytest.raises(UserError, match="Found cluster_layer=9"):
            require_units(tiny_teacher(), files, _config(cluster_layer=9))
