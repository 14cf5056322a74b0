"""A stage that was interrupted, or whose files are damaged, ends as if it had run in one piece."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compressors.training.loop import Training
from tests.helpers.small_training import STAGE, Noisy, history_rows


def harm(path: Path, damage: str) -> None:
    content = path.read_bytes()
    if damage == "a folder":
        path.unlink()
        path.mkdir()
        return
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    changed = {"one bit": bytes(flipped), "torn": content[:-1000], "empty": b"", "no checkpoint": b"{}" * 100}
    path.write_bytes(changed[damage])


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """Let writing fail in files that grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestResuming:
    stage = STAGE

    def test_an_interrupted_stage_ends_in_the_same_weights_rows_and_batches(
        self, training: Training, tmp_path: Path
    ) -> None:
        whole = Noisy()
        training.run("stage", self.stage, whole)
        again = replace(training, workdir=tmp_path / "again", history=tmp_path / "again.csv")
        for fails_at in (2, 8, 9):  # Before the first checkpoint; two updates after the second; with the third.
            with pytest.raises(KeyError, match="stopped here"):
                again.run("stage", self.stage, Noisy(fails_at))
        resumed = Noisy()
        again.run("stage", self.stage, resumed)
        assert len(resumed.seen) == 2 * (11 - 9)
        assert resumed.seen == whole.seen[-4:]
        for key, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[key], value), key
        assert (tmp_path / "again.csv").read_text() == (tmp_path / "training.csv").read_text()
        assert [row["update"] for row in history_rows(tmp_path / "again.csv")] == ["2", "4", "6", "8", "10", "11"]

    def test_a_finished_stage_is_not_repeated(self, training: Training) -> None:
        first, second = Noisy(), Noisy(fails_at=0)
        training.run("stage", self.stage, first)
        training.run("stage", self.stage, second)
        assert not second.seen
        for key, value in first.state_dict().items():
            assert torch.equal(second.state_dict()[key], value), key

    @pytest.mark.parametrize("damage", ["one bit", "torn", "empty", "no checkpoint", "a folder"])
    @pytest.mark.parametrize("which", [("stage.ckpt",), ("stage.ckpt", "stage.previous.ckpt")], ids=len)
    def test_a_damaged_checkpoint_is_named_set_aside_and_made_again(
        self,
        training: Training,
        tmp_path: Path,
        damage: str,
        which: tuple[str, ...],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        whole = Noisy()
        training.run("stage", self.stage, whole)
        again = replace(training, workdir=tmp_path / "again", history=tmp_path / "again.csv")
        with pytest.raises(KeyError, match="stopped here"):
            again.run("stage", self.stage, Noisy(8))
        for name in which:
            harm(again.workdir / name, damage)
        resumed = Noisy()
        again.run("stage", self.stage, resumed)
        for name in which:
            assert str(again.workdir / name) in caplog.text
            assert (again.workdir / f"{name}.damaged").exists()
        assert len(resumed.seen) == 2 * (11 - (3 if len(which) == 1 else 0))
        for key, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[key], value), key
        assert (tmp_path / "again.csv").read_text() == (tmp_path / "training.csv").read_text()

    def test_a_damaged_history_is_written_again(self, training: Training, tmp_path: Path) -> None:
        for stage in ("first", "second"):
            training.run(stage, self.stage, Noisy())
        whole = training.history.read_text()
        training.history.write_text(whole.replace("second", "f\n,"))
        later = replace(training, logged={})
        for stage in ("first", "second"):
            later.run(stage, self.stage, Noisy())
        assert training.history.read_text() == whole

    def test_a_full_disk_is_named_and_the_last_checkpoint_stays(self, training: Training, tmp_path: Path) -> None:
        whole = Noisy()
        training.run("stage", self.stage, whole)
        again = replace(training, workdir=tmp_path / "again", history=tmp_path / "again.csv")
        half = (training.workdir / "stage.ckpt").stat().st_size // 2
        with full_disk(after=half), pytest.raises(OSError, match="too large") as caught:
            again.run("stage", self.stage, Noisy())
        assert caught.value.filename == str(again.workdir / "stage.next.ckpt")
        assert [path for path in again.workdir.iterdir() if path.name != "stage.ckpt"] == []
        resumed = Noisy()
        again.run("stage", self.stage, resumed)
        for key, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[key], value), key
