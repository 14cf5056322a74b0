"""Who is measured, and against whom."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bench.errors import UserError
from bench.profiling.subjects import Subject, check_teachers, find_subjects
from bench.store.run_folder import FinishedCompression, RunFolder
from bench.upstream import load_upstream, save_upstream


def student(folder: Path, teacher: str) -> str:
    save_upstream(load_upstream("random:mini-hubert"), folder, {"teacher": teacher})
    return str(folder)


def run(folder: Path, training_budget: str | None, row: str, finished: dict[str, tuple[str, ...]]) -> Path:
    models = {
        "mini-hubert": {"reference": "mini-hubert"},
        "fbank": {"reference": "fbank"},
        row: {"compressor": "dphubert"},
    }
    values = {"teacher": "mini-hubert", "data": {}, "preset": "mini", "tasks": {}, "seeds": [0, 1], "models": models}
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({**values, "training_budget": training_budget}, sort_keys=False))
    for name, rows in finished.items():
        RunFolder(folder).finish_compression(name, FinishedCompression(models=rows, seconds=1))
    return folder


class TestNamed:
    def test_teacher_is_the_recorded_one(self, tmp_path: Path) -> None:
        model = student(tmp_path / "model", "mini-hubert")
        assert [subject.teacher for subject in find_subjects(["fbank", model], None, None)] == [None, "mini-hubert"]

    def test_else_the_first_reference(self) -> None:
        subjects = find_subjects(["random:hubert_base", "random:distilhubert"], None, None)
        assert [subject.teacher for subject in subjects] == [None, "random:hubert_base"]

    def test_the_user_s_word_counts_more(self, tmp_path: Path) -> None:
        model = student(tmp_path / "model", "gone")
        (subject,) = find_subjects([model], None, "mini-hubert")
        assert subject == Subject(model, model, model, "mini-hubert")

    def test_a_recorded_teacher_that_is_gone(self, tmp_path: Path) -> None:
        subjects = find_subjects([student(tmp_path / "model", "/nowhere/teacher")], None, None)
        with pytest.raises(UserError, match=r"/nowhere/teacher.*--teacher names another"):
            check_teachers(subjects)

    def test_twice_the_same(self) -> None:
        with pytest.raises(UserError, match="twice"):
            find_subjects(["fbank", "fbank"], None, None)


class TestRun:
    def test_seed_0_s_models_stand_for_all_seeds(self, tmp_path: Path) -> None:
        folder = run(tmp_path / "run", None, "dphubert-seed7", {"dphubert-seed7": ("dphubert-seed7",)})
        assert find_subjects([], folder, None) == [
            Subject("mini-hubert", "mini-hubert", "mini-hubert", None),
            Subject("fbank", "fbank", "fbank", "mini-hubert"),
            Subject(str(folder / "models" / "dphubert-seed7"), "dphubert-seed7", "dphubert-seed7", "mini-hubert"),
        ]

    def test_a_model_that_does_not_exist_is_named(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        subjects = find_subjects([], run(tmp_path / "run", None, "dphubert-seed7", {}), None)
        assert [subject.name for subject in subjects] == ["mini-hubert", "fbank"]
        assert "dphubert-seed7" in caplog.text

    def test_seeds_of_a_sweep_share_a_row(self, tmp_path: Path) -> None:
        finished = {"dphubert-0.5-seed0": ("dphubert-0.5",), "dphubert-0.5-seed1": ("dphubert-0.5", "dphubert-0.5-b")}
        folder = run(tmp_path / "run", "updates", "dphubert-0.5", finished)
        assert [(subject.name, subject.row) for subject in find_subjects([], folder, None)[2:]] == [
            ("dphubert-0.5-seed0", "dphubert-0.5"),
            ("dphubert-0.5-seed1", "dphubert-0.5"),
            ("dphubert-0.5-b-seed1", "dphubert-0.5-b"),
        ]

    @pytest.mark.parametrize("name", ["nothing", "empty"])
    def test_no_run(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="Expected a run's folder"):
            find_subjects([], tmp_path / name, None)

    def test_neither_or_both(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="neither"):
            find_subjects([], None, None)
        with pytest.raises(UserError, match="both"):
            find_subjects(["fbank"], tmp_path, None)
