"""Several processes that fill the feature cache at once: together they keep to the limit and to the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.errors import UserError
from tasks.feature_cache.growth import growths
from tasks.feature_cache.room import folder_bytes, prune, room_to_grow
from tests.helpers.programs import Program

NO_ROOM = "features: waiting for space within --cache-limit until another process has written its own"
SIZE_BYTES = 60_000
LIMIT_BYTES = 100_000
WRITE = f"""
import logging, sys
from pathlib import Path
from tasks.feature_cache.room import room_to_grow
folder = Path(sys.argv[1])
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
with room_to_grow(folder, lambda: {SIZE_BYTES}, {LIMIT_BYTES}) as written:
    print("has room", flush=True)
    for part in range(3):
        sys.stdin.readline()
        folder.mkdir(exist_ok=True)
        (folder / str(part)).write_bytes(bytes({SIZE_BYTES} // 3))
        written({SIZE_BYTES} // 3)
        print("wrote", flush=True)
"""

UTTERANCE_BYTES = 100_000
COMPUTE = f"""
import logging, sys
from pathlib import Path
import torch
from bench.errors import UserError
from tasks.feature_cache import features
from tasks.feature_cache.store import FeatureStore
from tasks.feature_cache.waveforms import WaveformHashes

features.PACK_INTERVAL_S = 0.0
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
folder, limit_bytes, wanted = Path(sys.argv[1]), int(sys.argv[2]) or None, sys.argv[3]

def hidden_states(waveforms):
    letter = wanted[int(waveforms[0, 0])]
    print("computes", letter, flush=True)
    sys.stdin.readline()
    return [torch.full((1, 1, {UTTERANCE_BYTES} // 4), float(ord(letter)))]

cached = features.Features(
    hidden_states, FeatureStore(folder, {{}}), "means", frame_bytes={UTTERANCE_BYTES}, limit_bytes=limit_bytes
)
hashes = WaveformHashes(folder.parent / "hashes", [], "")
hashes._hashes = list(wanted)
utterances = features.Utterances(
    hashes, [1] * len(wanted), [1] * len(wanted), wanted, lambda index: torch.tensor([float(index)])
)
features.decoded = lambda positions, decode, _: (
    features.Decoded(index, decode(index), wanted[index]) for index in positions
)
try:
    cached.prepare(utterances)
except UserError as error:
    sys.exit(print(error))
print("has", "".join(chr(int(cached[name].unique())) for name in wanted), flush=True)
"""


def writer(folder: Path) -> Program:
    """Start a process that computes features: a third of them for every line that it is sent."""
    return Program(WRITE, folder)


def says(process: Program) -> str:
    return process.stdout.readline().strip()


def write(process: Program, root: Path) -> None:
    """Let a process write, and see that all that is there keeps to the limit."""
    process.stdin.write("go on\n")
    process.stdin.flush()
    assert says(process) == "wrote"
    # The notes of both processes are some hundred bytes.
    assert folder_bytes(root) <= LIMIT_BYTES


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Program]:
    """A process that holds room and never comes to write."""
    process = writer(tmp_path / "theirs")
    assert says(process) == "has room"
    yield process
    process.kill()
    process.communicate()


def test_who_does_not_fit_waits_and_then_takes_the_place(another: Program, tmp_path: Path) -> None:
    write(another, tmp_path)
    waiting = writer(tmp_path / "mine")
    assert says(waiting) == NO_ROOM
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


def test_a_killed_process_holds_nothing(another: Program, tmp_path: Path) -> None:
    (growth,) = growths(tmp_path)
    assert (growth.folder, growth.num_bytes) == (tmp_path / "theirs", SIZE_BYTES)
    killer = threading.Timer(1.0, another.kill)
    killer.start()
    with room_to_grow(tmp_path / "mine", lambda: SIZE_BYTES, LIMIT_BYTES):
        assert another.wait(timeout=10) != 0
    assert growths(tmp_path) == []
    assert list(tmp_path.glob("growing-*")) == []


def test_who_fits_beside_another_does_not_wait(another: Program, tmp_path: Path) -> None:
    with room_to_grow(tmp_path / "mine", lambda: LIMIT_BYTES - SIZE_BYTES, LIMIT_BYTES) as written:
        written(1_000)
        held = {growth.folder.name: growth.num_bytes for growth in growths(tmp_path)}
        assert held == {"theirs": SIZE_BYTES, "mine": LIMIT_BYTES - SIZE_BYTES - 1_000}
    assert another.poll() is None


def test_who_waits_may_lose_its_store(another: Program, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "earlier").write_bytes(bytes(1000))
    waiting = writer(tmp_path / "mine")
    assert says(waiting) == NO_ROOM
    prune(tmp_path, 0)
    assert not (tmp_path / "mine").exists()
    for _ in range(3):
        write(another, tmp_path)
    while (said := says(waiting)) != "has room":
        assert said
    waiting.communicate("go on\n" * 3)
    assert waiting.returncode == 0
    assert folder_bytes(tmp_path / "mine") == SIZE_BYTES


def test_what_others_are_about_to_write_is_no_free_disk(
    another: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.feature_cache.room.SPARE_BYTES", 0)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=SIZE_BYTES + 50_000))
    with room_to_grow(tmp_path / "mine", lambda: 50_000, None):
        pass
    with (
        pytest.raises(UserError, match=r"Found 5e-05 GB free, .*other processes"),
        room_to_grow(tmp_path / "mine", lambda: 50_001, None),
    ):
        pass


def computes(process: Program) -> str:
    """Return the utterance that a process computes, as soon as it does."""
    while (said := says(process)).startswith("features:"):
        pass
    assert said.startswith("computes "), said
    return said[-1]


def rest_of(process: Program, num_utterances: int) -> list[str]:
    """Let a process compute so many utterances, and return what it says of them until it ends."""
    said = process.communicate("go on\n" * num_utterances, timeout=60)
    assert process.returncode == 0
    return [line for line in said.splitlines() if not line.startswith(("features:", "waiting for"))]


class TestOneStore:
    """Processes that want features of one upstream, each utterance named by a letter."""

    @pytest.fixture
    def computing(self, tmp_path: Path) -> Iterator[Callable[..., Program]]:
        started = []

        def compute(wanted: str, limit_bytes: int = 0) -> Program:
            started.append(Program(COMPUTE, tmp_path / "store", limit_bytes, wanted))
            return started[-1]

        yield compute
        for process in started:
            process.kill()
            process.communicate()

    @pytest.mark.parametrize("limit_bytes", [0, 3 * UTTERANCE_BYTES + 50_000])
    def test_the_same_utterances_are_computed_once(self, computing: Any, limit_bytes: int, tmp_path: Path) -> None:
        first = computing("abc", limit_bytes)
        assert computes(first) == "a"
        second = computing("cba", limit_bytes)
        assert says(second).startswith("waiting for another process that works on features")
        assert rest_of(first, 3) == ["computes b", "computes c", "has abc"]
        assert rest_of(second, 0) == ["has cba"]
        assert folder_bytes(tmp_path / "store") < 3 * UTTERANCE_BYTES + 5_000

    def test_what_a_killed_process_has_left_is_computed_by_who_waits(self, computing: Any, tmp_path: Path) -> None:
        first = computing("abc")
        assert computes(first) == "a"
        second = computing("abc")
        assert says(second).startswith("waiting for another process that works on features")
        first.stdin.write("go on\n")
        first.stdin.flush()
        assert computes(first) == "b"
        # Another thread writes what has been computed.
        while not list((tmp_path / "store").glob("*.safetensors")):
            time.sleep(0.01)
        first.kill()
        assert rest_of(second, 2) == ["computes b", "computes c", "has abc"]

    def test_other_utterances_need_not_wait(self, computing: Any) -> None:
        first = computing("abc")
        assert computes(first) == "a"
        assert rest_of(computing("de"), 2) == ["computes d", "computes e", "has de"]
        assert rest_of(first, 3) == ["computes b", "computes c", "has abc"]

    def test_what_another_has_written_meanwhile_needs_no_room(self, computing: Any, tmp_path: Path) -> None:
        limit_bytes = 4 * UTTERANCE_BYTES + 50_000
        first = computing("abc", limit_bytes)
        assert computes(first) == "a"
        second = computing("cd", limit_bytes)
        assert says(second) == NO_ROOM
        rest_of(first, 3)
        assert rest_of(second, 1) == ["computes d", "has cd"]
        assert folder_bytes(tmp_path) <= limit_bytes
