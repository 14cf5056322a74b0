"""Folder for files that can be made again: the embedded corpora, features of upstreams, and units of teachers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs

from bench.errors import UserError
from bench.files.paths import expanded
from bench.text import shortened


def cache_root() -> Path:
    """Return ``$SUPERB_BENCH_CACHE``, or the user's cache folder.

    Raises:
        UserError: the variable names something other than a folder, or an unreachable path.
    """
    chosen = os.environ.get("SUPERB_BENCH_CACHE")
    if not chosen:
        return platformdirs.user_cache_path("superb-bench")
    folder = expanded(chosen).absolute()
    try:
        is_other = next(path for path in (folder, *folder.parents) if path.exists()).is_file()
        reason = "a file"
    except OSError as error:
        is_other, reason = True, str(error.strerror)
    if is_other:
        raise UserError(
            f"Expected a folder in the environment variable SUPERB_BENCH_CACHE. Found {shortened(str(folder), 120)} "
            f"({reason}). Set it to a folder of yours, or unset it."
        )
    return folder


def units_root() -> Path:
    """Return the folder of teachers' units. In each subfolder, ``identity.json`` has teacher, layer and clusters."""
    return cache_root() / "units"


def waveforms_root() -> Path:
    """Return the folder that maps each utterance of a corpus to its waveform."""
    return cache_root() / "waveforms"


def require_writable(folder: Path) -> None:
    """Refuse a cache folder that this user may not write to. It need not exist yet.

    Raises:
        UserError: a file cannot be created in it.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(
            f"Expected a cache that can be written. Found {shortened(str(existing), 120)}: {error.strerror}. Set "
            "SUPERB_BENCH_CACHE to a folder of yours, let its owner allow it (chmod -R g+w, umask 002), or use "
            "--protocol s3prl, which keeps nothing."
        ) from error
