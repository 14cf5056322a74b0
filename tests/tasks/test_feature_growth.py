"""Several processes that fill the feature cache at once: together they keep to the limit and to the disk."""

from __future__ import annotations

import subprocess
import sys
import threading
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
import logging, sys
from pathlib import Path
from tasks.feature_cache.room import room_to_grow
folder = Path(sys.argv[1])
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
with room_to_grow(folder, {SIZE_BYTES}, {LIMIT_BYTES}) as written:
    print("has room", flush=True)
    for part in range(3):
        sys.stdin.readline()
        (folder / str(part)).write_bytes(bytes({SIZE_BYTES} // 3))
        written({SIZE_BYTES} // 3)
        print("wrote", flush=True)
"""


def writer(folder: Path) -> subprocess.Popen[str]:
    """Start a process that computes features: a third of them for every line that it is sent."""
    command = [sys.executable, "-c", WRITE, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def write(process: subprocess.Popen[str], root: Path) -> None:
    """Let a process write, and see that all that is there keeps to the limit."""
    assert process.stdin is not None
    process.stdin.write("go on\n")
    process.stdin.flush()
    assert says(process) == "wrote"
    # The notes of both processes are some hundred bytes.
    assert folder_bytes(root) <= LIMIT_BYTES


@pytest.fixture
def another(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds room and never comes to write."""
    process = writer(tmp_path / "theirs")
    assert says(process) == "has room"
    yield process
    process.kill()
    process.communicate()


def test_who_does_not_fit_waits_and_then_takes_the_place(another: subprocess.Popen[str], tmp_path: Path) -> None:
    write(another, tmp_path)
    waiting = writer(tmp_path / "mine")
    assert says(waiting) == "features: no room within --cache-limit until another process has written its own"
    for _ in range(2):
        write(another, tmp_path)
    assert another.wait() == 0
    while (said := says(waiting)) != "has room":
        assert said
    for _ in range(3):
        write(waiting, tmp_path)
    waiting.communicate()
    assert waiting.returncode == 0
    assert {path.name: folder_bytes(path) for path in tmp_path.iterdir() if path.is_dir()} == {"mine": SIZE_BYTES}


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
