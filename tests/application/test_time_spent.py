"""The time that a compression took, over all processes that worked on it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.runner.time_spent import FILE, noting_time, time_spent


def test_sessions_are_summed_and_killed_ones_are_counted(tmp_path: Path) -> None:
    with pytest.raises(KeyError), noting_time(tmp_path):
        time.sleep(0.1)
        raise KeyError
    with noting_time(tmp_path):
        assert json.loads((tmp_path / FILE).read_text())[1] == {}  # What a killed process leaves.
        noted = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(noted)
    with noting_time(tmp_path):
        started = time.process_time()
        while time.process_time() < started + 0.1:
            pass
    found = time_spent(tmp_path)
    assert (found["processes"], found["killed_processes"]) == (3, 1)
    assert found["seconds"] >= 0.2
    assert 0.1 <= found["cpu_seconds"] <= found["seconds"] + 0.1


def test_torn_notes_are_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[{")
    with pytest.raises(UserError, match="Delete it"):
        time_spent(tmp_path)
