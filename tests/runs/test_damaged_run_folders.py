"""Run folders that lost files, were edited by somebody, or lead elsewhere: said and redone, or refused in one line."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.config.run import RunConfig
from bench.errors import UserError
from bench.reports.plots.sources import read_sources
from bench.runs.work import WorkList
from bench.store.claims import claimed, require_locks
from bench.store.run_folder import RunFolder, RunFolderGoneError
from tasks.mini.building import sole_builder
from tests.helpers.tiny_runs import config_of, execute, write_data, write_teacher

ROW = "prune-only"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("given")
    data = write_data(folder / "data")
    teacher = write_teacher(folder / "teacher")
    settings = ("importance=l2", "recovery=null", "sparsity=0.2")
    return config_of(data, *settings, compressors=ROW, teacher=str(teacher))


@pytest.fixture(scope="module")
def finished(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert not execute(config, out).failures
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A finished run, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "top" / "inner" / "run"))


def weights(run: Path) -> bytes:
    return (run / "models" / ROW / "model.safetensors").read_bytes()


def done(run: Path, config: RunConfig) -> list[bool]:
    """Say of every item of the work list whether it is done."""
    folder = RunFolder(run)
    return [item.is_done(folder) for item in WorkList(folder, config).items()]


def remove_folder(run: Path) -> None:
    shutil.rmtree(run / "models" / ROW)


def remove_weights(run: Path) -> None:
    (run / "models" / ROW / "model.safetensors").unlink()


def remove_manifest(run: Path) -> None:
    (run / "models" / ROW / "config.json").unlink()


def remove_manifest_and_mark(run: Path) -> None:
    remove_manifest(run)
    (run / "models" / f"{ROW}.json").unlink()


def put_a_file_in_its_place(run: Path) -> None:
    remove_folder(run)
    (run / "models" / ROW).write_text("?")


class TestLostModels:
    @pytest.mark.parametrize(
        "damage", [remove_folder, remove_weights, remove_manifest, remove_manifest_and_mark, put_a_file_in_its_place]
    )
    def test_are_said_and_made_again(
        self, damage: Callable[[Path], None], config: RunConfig, finished: Path, out: Path
    ) -> None:
        damage(out)
        assert done(out, config) == [False, True, True]
        assert not execute(config, out).failures
        assert weights(out) == weights(finished)
        assert all(done(out, config))

    def test_are_named(self, config: RunConfig, out: Path, caplog: pytest.LogCaptureFixture) -> None:
        remove_folder(out)
        execute(config, out)
        assert any("made again" in message and f"models/{ROW}" in message for message in caplog.messages)

    def test_a_mark_that_was_lost_makes_nothing_again(self, config: RunConfig, out: Path) -> None:
        (out / "models" / f"{ROW}.json").unlink()
        before = (out / "models" / ROW / "model.safetensors").stat().st_mtime_ns
        assert not execute(config, out).failures
        assert (out / "models" / ROW / "model.safetensors").stat().st_mtime_ns == before

    def test_half_a_folder_without_its_mark_blocks_nothing(self, config: RunConfig, finished: Path, out: Path) -> None:
        """As a kill leaves it that comes while a folder is removed."""
        remove_manifest_and_mark(out)
        shutil.rmtree(out / "cells" / ROW)
        assert not execute(config, out).failures
        assert weights(out) == weights(finished)

    def test_what_a_killed_save_left_is_no_model_and_goes(self, config: RunConfig, out: Path) -> None:
        left = out / "models" / f".{ROW}.ab12_xyz"
        shutil.copytree(out / "models" / ROW, left)
        assert [model.name for model in read_sources([out])[0].models] == [ROW]
        remove_folder(out)
        execute(config, out)
        assert not left.exists()


HOSTILE_NAMES = [
    "../../../outside/m",
    "/outside",
    "..",
    ".hidden",
    "=cmd",
    "-rf",
    "+x",
    "@x",
    "a/b",
    "a\\b",
    "a\rb",
    "",
]


def files_around(run: Path) -> list[Path]:
    """List the files three folders above a run, but for lock files."""
    return sorted(path for path in run.parents[2].rglob("*") if "locks" not in path.parts)


class TestHostileFiles:
    @pytest.mark.parametrize("models", [*([name] for name in HOSTILE_NAMES), [], [1], None, "prune-only", ["teacher"]])
    def test_names_of_models_are_those_of_their_row(self, models: Any, config: RunConfig, out: Path) -> None:
        (out / "models" / f"{ROW}.json").write_text(json.dumps({"models": models, "seconds": 1}))
        before = files_around(out)
        with pytest.raises(UserError, match=rf"models/{ROW}\.json.*Delete it"):
            execute(config, out)
        assert files_around(out) == before

    @pytest.mark.parametrize("link", ["models", "cells", f"cells/{ROW}", f"models/{ROW}", "failures", "work"])
    def test_links_that_lead_outside_are_refused(self, link: str, config: RunConfig, out: Path, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        if (out / link).exists():
            shutil.move(out / link, elsewhere)
        else:
            elsewhere.mkdir()
        (out / link).symlink_to(elsewhere, target_is_directory=True)
        before = sorted(elsewhere.rglob("*"))
        more = config.model_copy(update={"seeds": (0, 1)})
        with pytest.raises(UserError, match=f"{link}.*elsewhere"):
            execute(more, out)
        assert sorted(elsewhere.rglob("*")) == before

    @pytest.mark.parametrize(
        "change",
        [
            {"models": {"../x": {"reference": "fbank"}}},
            {"models": []},
            {"models": {"a": 1}},
            {"tasks": {"ks": []}},
            {"tasks": None},
            {"seeds": "0"},
            {"data": 3},
            {"data": {"tasks": []}},
            {"teacher": ["a"]},
        ],
    )
    def test_a_configuration_that_somebody_edited_is_refused(
        self, change: dict[str, Any], config: RunConfig, out: Path
    ) -> None:
        folder = RunFolder(out)
        folder.write_config({**(folder.read_config() or {}), **change})
        with pytest.raises(UserError, match=r"config\.yaml"):
            execute(config, out)


class TestFolderThatGoesAway:
    def test_is_noticed_at_the_next_item(
        self, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "run"
        evaluated = []

        def delete_and_evaluate(*arguments: Any) -> None:
            evaluated.append(arguments)
            shutil.rmtree(out)

        monkeypatch.setattr("bench.runs.worker.evaluate", delete_and_evaluate)
        with pytest.raises(RunFolderGoneError, match="deleted or moved"):
            execute(config, out)
        assert len(evaluated) == 1
        monkeypatch.undo()
        assert not execute(config, out).failures

    def test_is_noticed_before_a_record_is_kept(
        self, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tasks.ks import KS

        out = tmp_path / "run"
        evaluate = KS.evaluate

        def evaluate_and_delete(*arguments: Any) -> Any:
            evaluation = evaluate(*arguments)
            shutil.rmtree(out)
            return evaluation

        monkeypatch.setattr(KS, "evaluate", evaluate_and_delete)
        with pytest.raises(RunFolderGoneError):
            execute(config, out)
        assert not (out / "cells").exists()


class TestFailureNotes:
    @pytest.fixture
    def failing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*arguments: Any) -> None:
            raise RuntimeError("no luck")

        monkeypatch.setattr("bench.runs.worker.evaluate", fail)

    @pytest.mark.usefixtures("failing")
    def test_have_no_spaces_and_are_removed_after_success(
        self, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "run"
        assert len(execute(config, out).failures) == 2
        notes = sorted(path.relative_to(out).as_posix() for path in out.glob("failures/**/*.txt"))
        assert notes == ["failures/prune-only/ks-seed0.txt", "failures/teacher/ks-seed0.txt"]
        monkeypatch.undo()
        assert not execute(config, out).failures
        assert not list(out.glob("failures/**/*.txt"))

    def test_of_another_process_stay(self, config: RunConfig, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """That process holds the claim on the cell, and finishes it while this process waits."""
        record = out / "cells" / ROW / "ks-seed0.json"
        content = record.read_bytes()
        record.unlink()
        folder = RunFolder(out)
        note = folder.failure_path(f"{ROW}/ks-seed0")
        note.parent.mkdir(parents=True)
        note.write_text("why")
        with contextlib.ExitStack() as other:
            other.enter_context(claimed(folder.lock_path(f"{ROW} ks seed 0"), wait=False))

            def finish(_seconds: float) -> None:
                record.write_bytes(content)
                other.close()

            monkeypatch.setattr("time.sleep", finish)
            assert not execute(config, out).failures
        assert note.read_text() == "why"


class TestLocks:
    def test_a_file_system_without_them_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def flock(*arguments: Any) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr("fcntl.flock", flock)
        with pytest.raises(UserError, match=r"locks in .*Go elsewhere\."):
            require_locks(tmp_path, "Go elsewhere.")
        with pytest.raises(UserError, match="locks in"), claimed(tmp_path / "a.lock", wait=True):
            pass

    def test_one_whose_locks_exclude_nobody_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fcntl.flock", lambda *arguments: None)
        with pytest.raises(UserError, match=r"locks in .*Go elsewhere\."):
            require_locks(tmp_path, "Go elsewhere.")

    def test_a_cache_without_working_ones_is_refused_before_corpora_are_built_in_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fcntl.flock", lambda *arguments: None)
        with pytest.raises(UserError, match="SUPERB_BENCH_CACHE"), sole_builder(tmp_path / "corpus", lambda: None):
            pass

    def test_one_with_them_is_left_as_it_was(self, tmp_path: Path) -> None:
        require_locks(tmp_path, "")
        assert not list(tmp_path.iterdir())
