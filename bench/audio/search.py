"""Finds the audio files of a folder, without skipping any silently."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from bench.errors import UserError

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})
OTHER_AUDIO_SUFFIXES = frozenset(
    {".aac", ".aiff", ".aif", ".au", ".caf", ".m4a", ".mp4", ".oga", ".sph", ".w64", ".webm", ".wma"}
)
"""Suffixes of audio formats that the suite does not read."""


def find_audio(root: Path) -> list[Path]:
    """List the audio files below ``root``, sorted.

    Raises:
        UserError: the folder does not exist, or holds no audio.
    """
    if not root.is_dir():
        raise UserError(f"Expected a folder of audio. Found nothing at {root}. Correct the path in the data file.")
    found = audio_below(root)
    if not found:
        raise UserError(f"Expected audio ({', '.join(sorted(AUDIO_SUFFIXES))}) below {root}. Found none.")
    return found


def audio_below(folder: Path) -> list[Path]:
    """List the audio files below a folder, by suffix in any case, sorted. See `files_below`."""
    return sorted(path for path in files_below(folder) if is_audio(path))


def is_audio(path: Path) -> bool:
    """Return whether a name has an audio suffix, in any case."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def is_apple_twin(name: str) -> bool:
    """Return whether this is the name of a macOS attribute file, or of their folder in archives."""
    return name.startswith("._") or name == "__MACOSX"


def files_below(folder: Path) -> Iterator[Path]:
    """List everything but folders below a folder. Follows links to folders, and visits each folder once.

    Skips macOS attribute files, see `is_apple_twin`. Entries may be special files or broken links; opening them fails.

    Raises:
        UserError: a folder cannot be read, or a link without a file suffix is broken.
    """
    yield from _files_below(folder, set())


def _files_below(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = folder.stat()
        # Links may lead to a parent folder, or twice to the same one.
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"Expected a readable folder. {folder}: {error.strerror}. Correct its permissions.") from error
    for entry in entries:
        path = folder / entry.name
        if is_apple_twin(entry.name):
            continue
        # Only links need another system call.
        if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and path.is_dir()):
            yield from _files_below(path, seen)
        elif entry.is_symlink() and not path.suffix and not entry.name.startswith(".") and not path.exists():
            raise UserError(
                f"Expected a folder or file behind the link {path}. Found nothing at {path.readlink()}. "
                "Mount the disk that it leads to, or remove the link."
            )
        else:
            yield path


def not_read(folder: Path, read: Collection[Path], listed: Iterable[Path] | None = None) -> str:
    """Describe the audio below a folder that was not read. Empty if there is none.

    Args:
        folder: folder of a corpus or of a split.
        read: the files of the corpus, and those it leaves out by its own rules.
        listed: the result of `files_below`, if already known.
    """
    read = set(read)
    suffixes = AUDIO_SUFFIXES | OTHER_AUDIO_SUFFIXES
    left = [path for path in listed or files_below(folder) if path.suffix.lower() in suffixes and path not in read]
    if not left:
        return ""
    counts = Counter(path.suffix.lower() for path in left)
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(counts.items()))
    return f"{len(left):,} audio files below {folder} are not read ({kinds}), such as {min(left)}."
