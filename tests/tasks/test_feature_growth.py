"""Several processes that fill the feature cache at once: together they keep to the limit and to the disk."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.errors import UserError
from tasks.feature_cache.growth import growths
from tasks.feature_cache.room import folder_bytes, room_to_grow

SIZE_BYTES = 60_000
LIMIT_BYTES = 100_000
WRITE = f"""
import sys, time
from pathlib import Path
from tasks.feature_cache.room import room_to_grow
folder = Path(sys.argv[1])
with room_to_grow(folder, {SIZE_BYTES}, {LIMIT_BYTES}) as written:
    for part in range(3):
        print("writes", flush=True)
        time.sleep(float(sys.argv[2]))
        (folder / str(part)).write_bytes(bytes({SIZE_BYTES} // 3))
        written({SIZE_BYTES} // 3)
"""


def writer(folder: Path, pause_s: float) -> subprocess.Popen[str]:
    """Start a process that computes features, and wait until it holds its room."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(folder), str(pause_s)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writes\n"
    return process


@pytest.fixture
def another(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds room and never comes to write."""
    process = writer(tmp_path / "theirs", 3600)
    yield process
    process.kill()
    process.communicate()


def test_the_limit_holds_while_two_write_and_the_later_takes_the_place(tmp_path: Path) -> None:
    first = writer(tmp_path / "first", 0.3)
    second = subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path / "second"), "0.1"], stdout=subprocess.DEVNULL)
    largest_bytes = 0
    while second.poll() is None:
        largest_bytes = max(largest_bytes, folder_bytes(tmp_path))
        time.sleep(0.005)
    assert (first.wait(), second.wait()) == (0, 0)
    first.communicate()
    # The notes of both are some hundred bytes.
    assert SIZE_BYTES <= largest_bytes <= LIMIT_BYTES
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["second"]


def test_a_killed_process_holds_nothing(another: subprocess.Popen[str], tmp_path: Path) -> None:
    (growth,) = growths(tmp_path)
    assert (growth.folder, growth.num_bytes) == (tmp_path / "theirs", SIZE_BYTES)
    killer = threading.Timer(1.0, another.kill)
    killer.start()
    with room_to_grow(tmp_path / "mine", SIZE_BYTES, LIMIT_BYTES):
        assert another.wait(timeout=10) != 0
    assert growths(tmp_path) == []
    assert list(tmp_path.glob("growing-*")) == []


def test_who_fits_beside_another_does_not_wait(another: subprocess.Popen[str], tmp_path: Path) -> None:
    with room_to_grow(tmp_path / "mine", LIMIT_BYTES - SIZE_BYTES, LIMIT_BYTES) as written:
        written(1_000)
        held = {growth.folder.name: growth.num_bytes for growth in growths(tmp_path)}
        assert held == {"theirs": SIZE_BYTES, "mine": LIMIT_BYTES - SIZE_BYTES - 1_000}
    assert another.poll() is None


def test_what_others_are_about_to_write_is_no_free_disk(
    another: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.feature_cache.room.SPARE_BYTES", 0)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=SIZE_BYTES + 50_000))
    with room_to_grow(tmp_path / "mine", 50_000, None):
        pass
    with (
        pytest.raises(UserError, match=r"Found 5e-05 GB free beside what other processes are about to write\. Delete"),
        room_to_grow(tmp_path / "mine", 50_001, None),
    ):
        pass
