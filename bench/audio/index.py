"""What is known of the files of a corpus, so that no command reads a file twice: one SQLite file per corpus."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from bench.audio.threads import map_in_threads
from bench.cache_folder import cache_root

logger = logging.getLogger(__name__)

CHUNK_FILES = 4096
"""Files between two writes. A killed process loses less than this."""
_QUERY_FILES = 500
_WAIT_S = 60.0
"""How long to wait for another process that writes. Writes take milliseconds."""
_SCHEMA = (
    "CREATE TABLE corpus (root BLOB NOT NULL)",
    "CREATE TABLE facts (kind TEXT, path BLOB, state TEXT, value TEXT, checksum INTEGER, PRIMARY KEY (kind, path)) "
    "WITHOUT ROWID",
)

Source = TypeVar("Source", str, Path)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Fact(Generic[Source, Result]):
    """Something to find out about a file by reading it."""

    kind: str
    """Its name in the index. Change it with the meaning of the values."""
    pattern: re.Pattern[str]
    """What every stored value matches."""
    read: Callable[[Source], Result]
    """Reads the file."""
    encode: Callable[[Result], str | None]
    """Turns a result into a stored value. None: do not store it."""
    decode: Callable[[Source, str], Result | None]
    """Turns a stored value into a result. None: read the file again."""


class _DamagedError(Exception):
    """An index holds something that this module did not write."""


def look_up(fact: Fact[Source, Result], paths: Sequence[Source], root: Path | None) -> list[Result]:
    """Find out a fact about each file, and read only files that are new or changed since the last call.

    A file has changed if its size, its mtime or its ctime differs: ctime differs even if mtime was set back. A damaged
    index is made again. Several processes may use an index at once.

    Args:
        fact: what to find out.
        paths: the files.
        root: folder of the corpus, which has its own index. Files may be elsewhere. None: read all files.
    """
    if root is None:
        return map_in_threads(fact.read, paths)
    file = index_file(root)
    try:
        return _look_up(fact, paths, root, file)
    except _DamagedError as error:
        logger.warning("Indexing the audio in %s again: the index %s is damaged (%s)", root, file, error)
    try:
        remove(file)
        return _look_up(fact, paths, root, file)
    except (OSError, _DamagedError) as error:
        logger.warning("Reading the audio in %s without an index: %s", root, error)
        return map_in_threads(fact.read, paths)


def index_root() -> Path:
    """Return the folder of all indexes."""
    return cache_root() / "audio-index"


def index_file(root: Path) -> Path:
    """Return the index of a corpus."""
    return index_root() / f"{hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:32]}.sqlite"


def remove(file: Path) -> None:
    """Remove an index. Processes that use it go on."""
    file.unlink(missing_ok=True)
    Path(f"{file}-journal").unlink(missing_ok=True)


@dataclass(frozen=True)
class IndexSummary:
    """One index on disk."""

    file: Path
    root: Path | None
    """Folder of the corpus; None if the index is damaged."""
    num_files: int


def indexes() -> list[IndexSummary]:
    """List the indexes."""
    return [_summary(file) for file in sorted(index_root().glob("*.sqlite"))]


def _summary(file: Path) -> IndexSummary:
    try:
        with closing(_connected(file, "ro")) as index:
            _check_schema(index)
            (root,) = index.execute("SELECT root FROM corpus").fetchone()
            (count,) = index.execute("SELECT count(DISTINCT path) FROM facts").fetchone()
            return IndexSummary(file, Path(os.fsdecode(root)), count)
    except (sqlite3.Error, _DamagedError, TypeError, ValueError):
        return IndexSummary(file, None, 0)


def _look_up(fact: Fact[Source, Result], paths: Sequence[Source], root: Path, file: Path) -> list[Result]:
    found: list[Result] = []
    with _opened(file, root) as index:
        for start in range(0, len(paths), CHUNK_FILES):
            chunk = paths[start : start + CHUNK_FILES]
            found += map_in_threads(fact.read, chunk) if index is None else _looked_up(fact, chunk, root, index)
    return found


def _looked_up(fact: Fact[Source, Result], paths: Sequence[Source], root: Path, index: _Index) -> list[Result]:
    # Taken before reading, so that a change during reading is noticed next time.
    states = map_in_threads(_state, paths)
    names = _names(paths, root)
    known = index.values(fact.kind, dict(zip(names, states, strict=True)), fact.pattern)
    results: dict[int, Result] = {}
    for position, name in enumerate(names):
        value = known.get(name)
        result = None if value is None else fact.decode(paths[position], value)
        if result is not None:
            results[position] = result
    missing = [position for position in range(len(paths)) if position not in results]
    results.update(zip(missing, map_in_threads(fact.read, [paths[position] for position in missing]), strict=True))
    index.add(
        fact.kind,
        [
            (names[position], state, value)
            for position in missing
            if (state := states[position]) is not None and (value := fact.encode(results[position])) is not None
        ],
    )
    return [results[position] for position in range(len(paths))]


def _state(path: str | Path) -> str | None:
    """Describe a file so that every change shows. None if it cannot be reached; reading it gives the error."""
    try:
        status = os.stat(path)  # noqa: PTH116 - of a text or a path
    except (OSError, ValueError):
        return None
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _names(paths: Sequence[str] | Sequence[Path], root: Path) -> list[bytes]:
    """Return the paths below the root as bytes, because names of files need not be text."""
    folder = os.fsencode(root) + b"/"
    return [os.fsencode(path).removeprefix(folder) for path in paths]


class _Index:
    """An open index."""

    def __init__(self, connection: sqlite3.Connection, *, is_writable: bool) -> None:
        self._connection = connection
        self._is_writable = is_writable

    def values(self, kind: str, states: Mapping[bytes, str | None], pattern: re.Pattern[str]) -> dict[bytes, str]:
        """Return the values of files that have not changed, by name.

        Args:
            kind: of the fact.
            states: the files' present states, by name.
            pattern: what every value matches.
        """
        names, found = list(states), {}
        for start in range(0, len(names), _QUERY_FILES):
            part = names[start : start + _QUERY_FILES]
            marks = ",".join("?" * len(part))
            query = f"SELECT path, state, value, checksum FROM facts WHERE kind = ? AND path IN ({marks})"
            for path, state, value, checksum in self._rows(query, [kind, *part]):
                if not _is_sound(kind, path, state, value, checksum) or not pattern.fullmatch(value):
                    raise _DamagedError(f"a value of {kind}")
                if states[path] == state:
                    found[path] = value
        return found

    def _rows(self, query: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            logger.info("Not using the index of audio: another process holds it (%s)", error)
            return []

    def add(self, kind: str, rows: Sequence[tuple[bytes, str, str]]) -> None:
        """Store values, if the index can be written."""
        if not rows or not self._is_writable:
            return
        try:
            with _transaction(self._connection):
                self._connection.executemany(
                    "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?)",
                    [(kind, *row, _checksum(kind, *row)) for row in rows],
                )
        except sqlite3.OperationalError as error:
            logger.info("The index of audio cannot be written (%s). The next command reads these files again.", error)
            self._is_writable = False


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_sound(kind: str, path: object, state: object, value: object, checksum: object) -> bool:
    return (
        isinstance(path, bytes)
        and isinstance(state, str)
        and isinstance(value, str)
        and checksum == _checksum(kind, path, state, value)
    )


def _checksum(kind: str, path: bytes, state: str, value: str) -> int:
    return zlib.crc32(f"{kind}\n{state}\n{value}\n".encode(errors="surrogatepass") + path)


@contextmanager
def _opened(file: Path, root: Path) -> Iterator[_Index | None]:
    """Open an index, and create it if it is missing. None if it can be neither written nor read.

    Raises:
        _DamagedError: it is no index.
    """
    try:
        connection, is_writable = _connection(file, root)
    except sqlite3.OperationalError as error:
        logger.info("The audio in %s is not indexed, and the next command reads it again: %s (%s)", root, file, error)
        yield None
        return
    with closing(connection):
        try:
            _check_schema(connection)
            yield _Index(connection, is_writable=is_writable)
        except sqlite3.DatabaseError as error:
            raise _DamagedError(str(error)) from error


def _connection(file: Path, root: Path) -> tuple[sqlite3.Connection, bool]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(file):
            # SQLite would deny the group what the umask allows it.
            file.touch()
        connection = _connected(file, "rwc")
    except (OSError, sqlite3.OperationalError):
        return _connected(file, "ro"), False
    try:
        with _transaction(connection):
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute("INSERT INTO corpus VALUES (?)", [os.fsencode(root.absolute())])
    except sqlite3.OperationalError:
        # Another user's cache, or a full disk.
        connection.close()
        return _connected(file, "ro"), False
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _DamagedError(str(error)) from error
    return connection, True


def _connected(file: Path, mode: str) -> sqlite3.Connection:
    # SQLite would wait for the other end of a pipe.
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise _DamagedError("it is a pipe or a device")
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode={mode}", uri=True, timeout=_WAIT_S, isolation_level=None
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _check_schema(index: sqlite3.Connection) -> None:
    found = [sql for (sql,) in index.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")]
    if found != list(_SCHEMA):
        raise _DamagedError("it has other tables")
