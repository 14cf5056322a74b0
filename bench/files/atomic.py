"""Atomic writes, and errors that name the file."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` atomically once it is completely on the disk.

    Readers never see a partial file, even after a crash. Parent folders are created. Permissions follow the umask,
    because safetensors' own would lock other users out of a shared cache.

    Raises:
        OSError: the disk is full, or a similar error. Its ``filename`` is ``path``.
    """
    # Not the process id: two machines that share the disk may use the same one.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with naming(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch(exist_ok=False)
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def creating_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``folder`` atomically once all its files are on the disk.

    ``folder`` must be absent or empty. Parent folders are created. Permissions follow the umask, because the temporary
    folder and some writers' files are readable by their owner only.

    Raises:
        OSError: the disk is full, or a similar error.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield temporary
        umask = _umask()
        for path in (*temporary.rglob("*"), temporary):
            path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
            _synchronise(path)
        temporary.replace(folder)
        _synchronise(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path, *aliases: Path) -> Iterator[None]:
    """Make an `OSError` name ``path`` if it names no file, as errors of writing do, or one of ``aliases``."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, *map(str, aliases)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file for a writer that needs only ``write``, such as ``torch.save``.

    Raises:
        OSError: the disk is full, or a similar error, even if the writer raises another one. Its ``filename`` is
            ``path``.
    """
    with naming(path), path.open("wb") as file:
        recording = _Recording(file)
        try:
            yield cast("IO[bytes]", recording)
        except RuntimeError:
            if recording.error is None:
                raise
            raise recording.error from None


class _Recording:
    """A file that stores why writing failed, because torch raises another error."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, content: Any, /) -> int:
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        """Do nothing: closing the file does."""


def write_atomically(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically, replacing an existing one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_unfinished(path: Path) -> None:
    """Remove the temporary files of processes killed in `replacing`. No other process may be writing ``path``."""
    for temporary in path.parent.glob(f".{path.name}.*.tmp"):
        temporary.unlink(missing_ok=True)


def hide(path: Path) -> Path:
    """Rename a file or folder to a unique hidden name, atomically, and return it."""
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex}.removed")
    path.rename(hidden)
    return hidden


def remove_folder(folder: Path) -> None:
    """Remove a folder or file. Its name disappears atomically, even if this process is killed."""
    if not (folder.exists() or folder.is_symlink()):
        return
    removed = hide(folder)
    if removed.is_dir() and not removed.is_symlink():
        shutil.rmtree(removed, ignore_errors=True)
    else:
        removed.unlink()
