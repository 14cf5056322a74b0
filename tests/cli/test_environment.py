"""Wrong environment variables end in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from bench.cli import main
from bench.errors import UserError
from bench.upstream.conversion.huggingface import download_from_hub


@pytest.mark.parametrize("value", ["abc", "0", "-1", "1e3", "99999999999", "4,", "x" * 1_000])
def test_numbers_of_threads(value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(sys, "argv", ["bench", "list", "tasks"])
    with pytest.raises(SystemExit, match="2"):
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "OMP_NUM_THREADS" in line
    assert len(line) <= 400


@pytest.mark.parametrize("value", ["", "4", " 4 ", "4,2"])
def test_numbers_of_threads_that_openmp_takes(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(sys, "argv", ["bench", "list", "tasks"])
    with pytest.raises(SystemExit, match="0"):
        main()


def test_a_cache_of_the_hub_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise FileExistsError(17, "File exists", str(tmp_path))

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file.*HF_HOME"):
        download_from_hub("owner/name")
