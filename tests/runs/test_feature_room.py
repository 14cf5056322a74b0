"""Room for features: told and refused before a run computes anything."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.runs.feature_room import FeatureNeed, check_room


@pytest.fixture
def needs(tmp_path: Path) -> list[FeatureNeed]:
    """Two models; KS and SID share a store of means, ASR has one of frames, of which 300 MB less are there."""
    return [
        FeatureNeed(model, task, tmp_path / f"{model}-{kind}", num_bytes)
        for model in ("teacher", "student")
        for task, kind, num_bytes in (("ks", "means", 2_000), ("sid", "means", 6_000), ("asr", "frames", 400_000))
    ]


def test_all_of_it_is_told(needs: list[FeatureNeed], caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    (tmp_path / "teacher-frames").mkdir()
    (tmp_path / "teacher-frames" / "pack").write_bytes(b"0" * 300_000)
    with caplog.at_level(logging.INFO):
        check_room(needs, limit_bytes=None)
    assert caplog.messages == [
        "features: up to 408 KB per model (ks 2 KB, sid 6 KB, asr 400 KB); 516 KB not computed yet, for "
        "teacher, student"
    ]


def test_one_store_must_fit_the_limit(needs: list[FeatureNeed]) -> None:
    check_room(needs, limit_bytes=400_000)
    with pytest.raises(UserError, match=r"at most 399 KB \(--cache-limit\)\. Those of one model for asr need 400 KB"):
        check_room(needs, limit_bytes=399_000)
    with pytest.raises(UserError, match="for ks, sid need 8 KB"):
        check_room([need for need in needs if need.task != "asr"], limit_bytes=7_000)


def test_all_stores_must_fit_the_disk(needs: list[FeatureNeed], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.runs.feature_room.SPARE_BYTES", 0)
    monkeypatch.setattr("bench.runs.feature_room.free_bytes", lambda _folder: 500_000)
    with pytest.raises(UserError, match=r"Expected 816 KB for features .*Found 500 KB free"):
        check_room(needs, limit_bytes=None)
    # A limit lets the second model's features take the place of the first's.
    check_room(needs, limit_bytes=450_000)


def test_a_model_that_is_done_does_not_hide_what_another_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "pack").write_bytes(b"0" * 400_000)
    needs = [
        FeatureNeed("teacher", "asr", tmp_path / "done", 400_000),
        FeatureNeed("student", "asr", tmp_path / "absent", 300_000),
    ]
    monkeypatch.setattr("bench.runs.feature_room.SPARE_BYTES", 0)
    monkeypatch.setattr("bench.runs.feature_room.free_bytes", lambda _folder: 100_000)
    with pytest.raises(UserError, match=r"Expected 300 KB for features .*Found 100 KB free"):
        check_room(needs, limit_bytes=1_000_000)


def test_nothing_to_keep_is_nothing_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        check_room([], limit_bytes=1)
    assert caplog.messages == []


def test_a_cache_that_cannot_be_written_is_refused(
    needs: list[FeatureNeed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(dir: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(dir))

    monkeypatch.setattr("bench.cache_folder.tempfile.TemporaryFile", forbidden)
    with pytest.raises(UserError, match=r"Permission denied.*SUPERB_BENCH_CACHE"):
        check_room(needs, limit_bytes=None)


def test_a_cache_without_locks_is_refused(needs: list[FeatureNeed], monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    check_room(needs, limit_bytes=None)
    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(UserError, match=r"locks in .*SUPERB_BENCH_CACHE"):
        check_room(needs, limit_bytes=None)
