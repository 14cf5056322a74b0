"""Files of submissions that are damaged or no files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.store.submissions import Submissions


@pytest.mark.parametrize("kind", ["text", "folder", "pipe", "loop"])
def test_a_damaged_file_is_ignored_and_named_once(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    submissions = Submissions(tmp_path)
    kept = submissions.begin(["compress dphubert"])
    damaged = submissions.folder / "bench-damaged.json"
    if kind == "text":
        damaged.write_text("{")
    elif kind == "folder":
        damaged.mkdir()
    elif kind == "pipe":
        os.mkfifo(damaged)
    else:
        damaged.symlink_to(damaged)
    assert submissions.all() == submissions.all() == [kept]
    assert caplog.text.count(damaged.name) == 1
