"""The time that a compression took, over all processes that worked on it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.files.sealed import read_sealed_json
from bench.runs.time_spent import FILE, noting_time, time_spent


def test_sessions_are_summed_and_killed_ones_are_counted(tmp_path: Path) -> None:
    with pytest.raises(KeyError), noting_time(tmp_path):
        time.sleep(0.1)
        raise KeyError
    with noting_time(tmp_path):
        assert read_sealed_json(tmp_path / FILE)[1] == {}  # What a killed process leaves.
        noted = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(noted)
    with noting_time(tmp_path):
        started = time.process_time()
        while time.process_time() < started + 0.1:
            pass
    found = time_spent(tmp_path)
    assert (found["processes"], found["killed_processes"]) == (3, 1)
    assert found["seconds"] >= 0.2
    assert 0.09 <= found["cpu_seconds"] <= found["seconds"] + 0.1


@pytest.mark.parametrize("damage", [b"", b"[{", b"{}", b"\xff" * 90, None])
def test_damaged_notes_are_named_set_aside_and_begun_again(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    with noting_time(tmp_path):
        pass
    path = tmp_path / FILE
    # None: one digit changes.
    path.write_bytes(path.read_bytes().replace(b"0.", b"7.", 1) if damage is None else damage)
    with noting_time(tmp_path):
        pass
    assert str(path) in caplog.text
    assert (tmp_path / f"{FILE}.damaged").exists()
    assert time_spent(tmp_path)["processes"] == 1
