"""The index of a corpus: files are read once, changed files again, and a damaged index does no harm."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.audio import content_hash, files
from bench.audio.compact import CompactFiles
from bench.audio.content_hash import audio_sha256
from bench.audio.files import AudioFile, UnusableFilesError, read_headers
from bench.audio.index import index_file, index_root, indexes

NUM_FILES = 12


def write(path: Path, num_samples: int, rate_hz: int = 16_000, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(num_samples), rate_hz)
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "corpus"


@pytest.fixture
def paths(root: Path) -> list[Path]:
    return [write(root / f"{number % 3}" / f"{number}.wav", 1600 + number, seed=number) for number in range(NUM_FILES)]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of the files that are read."""
    opened: list[Path] = []

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(path: Path | str, **options: object) -> object:
            opened.append(Path(path))
            return function(path, **options)

        return call

    monkeypatch.setattr(files, "read_header", counted(files.read_header))
    monkeypatch.setattr(
        content_hash,
        "_SHA256",
        content_hash._SHA256.__class__(**{**vars(content_hash._SHA256), "read": counted(content_hash._file_sha256)}),
    )
    return opened


def hashed(paths: list[Path], root: Path | None) -> str:
    return audio_sha256([str(path) for path in paths], root)


def lengths(paths: list[Path], root: Path | None) -> list[int]:
    return [header.num_samples for header in read_headers(paths, root=root)]


@pytest.mark.parametrize("facts", [lengths, hashed])
class TestEveryFact:
    def test_files_are_read_once(self, paths: list[Path], root: Path, read: list[Path], facts: Callable) -> None:
        first = facts(paths, root)
        assert sorted(read) == sorted(paths)
        read.clear()
        assert facts(paths, root) == first == facts(paths, None)
        assert sorted(read) == sorted(paths), "without a root, and only then"

    def test_only_new_and_changed_files_are_read_again(
        self, paths: list[Path], root: Path, read: list[Path], facts: Callable
    ) -> None:
        facts(paths, root)
        longer = write(paths[3], 2000, seed=50)
        status = paths[5].stat()
        same_size = write(paths[5], 1605, seed=51)
        os.utime(same_size, ns=(status.st_atime_ns, status.st_mtime_ns))
        touched = paths[7]
        os.utime(touched)
        new = write(root / "new" / "a.wav", 1700)
        read.clear()
        found = facts([*paths, new], root)
        assert sorted(read) == sorted([longer, same_size, touched, new])
        assert found == facts([*paths, new], None)

    @pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "zeros", "tables", "values", "folder", "pipe"])
    def test_a_damaged_index_is_made_again(
        self,
        paths: list[Path],
        root: Path,
        read: list[Path],
        facts: Callable,
        damage: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        first = facts(paths, root)
        spoil(index_file(root), damage)
        read.clear()
        with caplog.at_level(logging.INFO):
            assert facts(paths, root) == first
        assert sorted(read) == sorted(paths)
        assert len(caplog.records) == (0 if damage == "empty" else 1)
        assert all(str(root) in record.getMessage() for record in caplog.records)
        read.clear()
        assert facts(paths, root) == first
        assert not read or damage == "folder"

    def test_processes_may_share_an_index(
        self, paths: list[Path], root: Path, read: list[Path], facts: Callable
    ) -> None:
        expected = facts(paths, None)
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: facts(paths, root), range(12)))
        assert found == [expected] * 12
        read.clear()
        assert facts(paths, root) == expected
        assert not read


def spoil(file: Path, damage: str) -> None:
    content = file.read_bytes()
    if damage == "garbage":
        file.write_bytes(b"no database " * 500)
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "zeros":
        file.write_bytes(content[:200] + bytes(len(content) - 200))
    elif damage == "folder":
        file.unlink()
        file.mkdir()
    elif damage == "pipe":
        file.unlink()
        os.mkfifo(file)
    else:
        with closing(sqlite3.connect(file)) as index, index:
            if damage == "tables":
                index.execute("CREATE TRIGGER sly AFTER INSERT ON facts BEGIN DELETE FROM facts; END")
            else:
                index.execute("UPDATE facts SET value = replace(value, '1', '2')")


class TestHeaders:
    def test_another_rate_stays_refused_without_resample(self, root: Path) -> None:
        path = write(root / "a.wav", 800, rate_hz=8000)
        assert read_headers([path], resample=True, root=root)[0].num_samples == 1600
        with pytest.raises(UnusableFilesError, match=r"8000 Hz in .*a\.wav"):
            read_headers([path], root=root)

    def test_unusable_files_are_named_every_time(self, paths: list[Path], root: Path) -> None:
        paths[2].write_bytes(b"no audio")
        paths[4].unlink()
        for _ in range(2):
            with pytest.raises(UnusableFilesError) as error:
                read_headers(paths, root=root)
            assert [str(path) in reason for path, reason in zip((paths[2], paths[4]), error.value.reasons, strict=True)]

    def test_files_outside_the_root(self, paths: list[Path], root: Path, read: list[Path]) -> None:
        other = write(root.parent / "corpus-2" / "0" / "0.wav", 3000)
        read_headers([*paths, other], root=root)
        read.clear()
        assert lengths([*paths, other], root)[-1] == 3000
        assert not read

    @pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX systems only")
    def test_names_that_are_no_text_are_hashed(self, paths: list[Path], root: Path) -> None:
        odd = root / os.fsdecode(b"\xff.wav")
        shutil.copyfile(paths[0], odd)
        assert hashed([odd], root) == hashed([odd], root) == hashed([paths[0]], root)


def test_a_cache_that_cannot_be_written_does_not_stop_anything(paths: list[Path], root: Path) -> None:
    index_root().parent.mkdir(parents=True, exist_ok=True)
    index_root().write_text("a file")
    assert lengths(paths, root) == lengths(paths, None)


def test_indexes_name_their_corpus(paths: list[Path], root: Path) -> None:
    read_headers(paths, root=root)
    hashed(paths[:2], root)
    (index_root() / "other.sqlite").write_bytes(b"no database")
    found = {index.root: index.num_files for index in indexes()}
    assert found == {root: NUM_FILES, None: 0}


class TestCompactFiles:
    def test_equals_the_list(self) -> None:
        listed = [
            AudioFile(Path("/a/b.wav"), 16_000, 16_000),
            AudioFile(Path("/ä/" + "x" * 200), 5, 8000, is_streamed=True),
            AudioFile(Path(os.fsdecode(b"/\xff.wav")), 10**10, 384_000),
        ]
        compact = CompactFiles(listed)
        assert list(compact) == listed
        assert [compact[-1], compact[0]] == [listed[-1], listed[0]]
        assert compact[1:] == listed[1:]
        assert len(compact) == 3
        with pytest.raises(IndexError):
            compact[3]

    def test_none(self) -> None:
        assert list(CompactFiles([])) == []
