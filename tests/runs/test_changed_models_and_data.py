"""Finished cells of a model or of data that have changed since are refused, and never ranked unsaid."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench import registry
from bench.comparison.compare import compare
from bench.comparison.rows import find_rows
from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.leaderboard.comparable import comparable, read_board, read_boards
from bench.upstream import load_upstream
from compressors.training.preparation import prepared_training
from tests.helpers.tiny_runs import config_of, execute, write_data, write_teacher

PRUNED = ("importance=l2", "recovery=null", "sparsity=0.2")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_teacher(tmp_path / "mine")


def retrain(model: Path) -> None:
    """Put other weights into the folder."""
    shutil.rmtree(model)
    write_teacher(model, seed=1)


def flip_a_bit(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


class TestWeights:
    @pytest.mark.parametrize("seeds", ["0", "0,1"])
    @pytest.mark.parametrize("role", ["model", "baseline", "teacher"])
    def test_a_model_retrained_in_place_is_refused(
        self, role: str, seeds: str, data: Path, model: Path, tmp_path: Path
    ) -> None:
        roles: dict[str, dict[str, Any]] = {
            "model": {"models": str(model)},
            "baseline": {"models": str(model), "teacher": "fbank"},
            "teacher": {"teacher": str(model)},
        }
        out = tmp_path / "run"
        execute(config_of(data, **roles[role]), out)
        retrain(model)
        config = config_of(data, **roles[role], seeds=seeds)
        with pytest.raises(UserError, match=r"mine have changed .*delete cells/mine"):
            execute(config, out)
        shutil.rmtree(out / "cells" / "mine")
        assert not execute(config, out).failures

    def test_the_same_weights_go_on(self, data: Path, model: Path, tmp_path: Path) -> None:
        execute(config_of(data, models=str(model)), tmp_path / "run")
        outcome = execute(config_of(data, models=str(model), seeds="0,1"), tmp_path / "run")
        assert not outcome.failures

    def test_a_flipped_bit_in_a_compressed_model_is_noticed(self, data: Path, model: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        options: dict[str, Any] = {"compressors": "prune-only", "teacher": str(model)}
        before = execute(config_of(data, *PRUNED, **options), out)
        flip_a_bit(out / "models" / "prune-only")
        config = config_of(data, *PRUNED, **options, seeds="0,1")
        with pytest.raises(UserError, match=r"models/prune-only"):
            execute(config, out)
        shutil.rmtree(out / "models" / "prune-only")
        after = execute(config, out)
        assert not after.failures
        assert set(after.leaderboard["model"]) == set(before.leaderboard["model"])

    def test_a_student_of_other_teacher_weights_is_refused(self, data: Path, model: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        config = config_of(data, *PRUNED, compressors="prune-only", teacher=str(model))
        execute(config, out)
        retrain(model)
        shutil.rmtree(out / "cells" / "mine")
        with pytest.raises(UserError, match=r"--teacher .* have changed since .*prune-only was made"):
            execute(config, out)

    def test_a_row_of_two_models_is_said_in_reports(self, data: Path, model: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        execute(config_of(data, models=str(model), seeds="0,1"), out)
        path = out / "cells" / "mine" / "ks-seed1.json"
        record = json.loads(path.read_text())
        record["provenance"]["weights_hash"] = "0" * 64
        path.write_text(json.dumps(record))
        (group,) = comparable([read_board(out)])
        assert any("mine" in note and "weights" in note for note in group.notes)


def correct_labels(data: Path) -> None:
    manifest = data.with_name("ks.csv")
    manifest.write_text(manifest.read_text().replace(",low", ",x").replace(",high", ",low").replace(",x", ",high"))


def replace_audio(data: Path) -> None:
    clips = sorted(data.with_name("clips").iterdir())
    clips[0].write_bytes(clips[1].read_bytes())


def add_a_column(data: Path) -> None:
    manifest = data.with_name("ks.csv")
    head, *rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([f"{head},speaker", *(f"{row},s{index}" for index, row in enumerate(rows))]) + "\n")


class TestData:
    @pytest.mark.parametrize("change", [correct_labels, replace_audio])
    def test_other_labels_or_audio_are_refused_in_one_folder(self, change: Any, data: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        execute(config_of(data, models="fbank"), out)
        change(data)
        for options in ({"models": "fbank,random:mini-hubert"}, {"models": "fbank", "seeds": "0,1"}):
            with pytest.raises(UserError, match=r"labels or the audio of ks .* have changed .*delete cells/\*/ks"):
                execute(config_of(data, **options), out)

    def test_what_no_score_depends_on_may_change(self, data: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        execute(config_of(data, models="fbank"), out)
        add_a_column(data)
        for clip in data.with_name("clips").iterdir():
            clip.touch()
        assert not execute(config_of(data, models="fbank", seeds="0,1"), out).failures

    def test_runs_on_other_labels_are_neither_ranked_nor_compared(self, data: Path, tmp_path: Path) -> None:
        runs = [tmp_path / "before", tmp_path / "after"]
        execute(config_of(data, models="fbank"), runs[0])
        correct_labels(data)
        execute(config_of(data, models="fbank"), runs[1])
        groups = comparable(read_boards(runs))
        assert [len(group.boards) for group in groups] == [1, 1]
        assert any("labels" in note for note in groups[1].notes)
        with pytest.raises(UserError, match="labels and audio"):
            compare(find_rows([str(run / "cells" / "fbank") for run in runs], None, tmp_path), "test")

    def test_rows_of_one_folder_on_other_labels_are_said(self, data: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        execute(config_of(data, models="fbank,random:mini-hubert"), out)
        path = out / "cells" / "fbank" / "ks-seed0.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "data_sha256": "0" * 64}))
        (group,) = comparable([read_board(out)])
        assert any("ks" in note and "labels" in note for note in group.notes)


class TestTrainingAudio:
    @pytest.fixture
    def data(self, data: Path) -> Path:
        """Audio of its own for compression."""
        shutil.copytree(data.with_name("clips"), data.with_name("audio"))
        data.write_text(data.read_text().replace("root: clips", "root: audio"))
        return data

    @staticmethod
    def replace_audio(data: Path) -> None:
        """Put other audio of the same length, name and time into a file."""
        first, second = sorted(data.with_name("audio").iterdir())[:2]
        times = first.stat().st_atime_ns, first.stat().st_mtime_ns
        first.write_bytes(second.read_bytes())
        os.utime(first, ns=times)

    def test_a_finished_model_of_other_audio_is_refused(self, data: Path, model: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        options: dict[str, Any] = {"compressors": "prune-only", "teacher": str(model)}
        execute(config_of(data, *PRUNED, **options), out)
        for clip in data.with_name("audio").iterdir():
            clip.touch()
        assert not execute(config_of(data, *PRUNED, **options), out).failures
        self.replace_audio(data)
        with pytest.raises(UserError, match=r"audio of compression has changed .*prune-only"):
            execute(config_of(data, *PRUNED, **options, seeds="0,1"), out)

    def test_unfinished_work_on_other_audio_is_refused(self, data: Path, model: Path, tmp_path: Path) -> None:
        config = registry.load("bench.compressors", "distill-only").presets["smoke"]
        audio = AudioSource(root=data.with_name("audio"))
        arguments = ("distill-only", config.model_copy(update={"min_duration_s": 0.1}), load_upstream(model), audio)
        prepared_training(*arguments, tmp_path / "work", Context())
        prepared_training(*arguments, tmp_path / "work", Context())
        self.replace_audio(data)
        with pytest.raises(UserError, match="audio_content differ"):
            prepared_training(*arguments, tmp_path / "work", Context())
