"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cache_folder import cache_root
from bench.errors import UserError
from bench.files.paths import expanded, is_possible
from bench.profiling.subjects import _recorded_teacher
from bench.upstream import load_upstream
from bench.upstream.reference import model_name

UNKNOWN = "~nobody-of-this-name/x"


@pytest.mark.parametrize("read", [expanded, load_upstream, model_name, _recorded_teacher])
def test_an_unknown_home_folder_is_refused(read: object) -> None:
    with pytest.raises(UserError, match="nobody-of-this-name"):
        read(UNKNOWN)  # type: ignore[operator]


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 256, "é" * 128, "a/" * 2_000])
def test_what_no_file_system_has(path: str) -> None:
    assert not is_possible(path)
    assert is_possible("a/b c/é.wav")


@pytest.mark.parametrize("below", ["", "/cache"])
def test_a_cache_that_is_a_file_is_refused(below: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    file = f"{tmp_path}/file"
    Path(file).touch()
    monkeypatch.setenv("SUPERB_BENCH_CACHE", file + below)
    with pytest.raises(UserError, match=r"SUPERB_BENCH_CACHE.*file"):
        cache_root()


def test_an_impossible_cache_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERB_BENCH_CACHE", "/tmp/" + "x" * 300)
    with pytest.raises(UserError, match="SUPERB_BENCH_CACHE"):
        cache_root()


def test_a_cache_in_the_home_folder(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SUPERB_BENCH_CACHE", "~/cache")
    assert str(cache_root()) == f"{tmp_path}/cache"
