"""Finds the audio that a data file names for compression."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench.audio.content_hash import audio_sha256
from bench.audio.files import AudioFile, find_audio, hours, read_headers
from bench.audio.manifest import read_manifest
from bench.audio.search import files_below, is_audio, not_read
from bench.contracts import AudioSource
from bench.errors import UserError


def source_paths(source: AudioSource) -> list[Path]:
    """List the files of a source. Default: LibriSpeech's training splits.

    Raises:
        UserError: there is no audio.
    """
    if source.layout == "manifest":
        return _manifest_paths(source)
    if source.root is None or not source.root.is_dir():
        raise UserError(f"Expected a folder of audio as `root`. Found nothing at {source.root}. Correct the path.")
    if source.layout == "folder" and not source.splits:
        return find_audio(source.root)
    paths = [path for split in _splits(source, source.root) for path in _split_paths(source.root, split)]
    _check_once(paths, "Name every split once, and none that is part of another.")
    return paths


def source_files(source: AudioSource) -> list[AudioFile]:
    """Read the headers of a source's files.

    Raises:
        UserError: there is no audio.
        UnusableFilesError: some files cannot be used.
    """
    return read_headers(source_paths(source), resample=source.resample, root=source.folder)


def source_sha256(source: AudioSource) -> str:
    """Hash the content of a source's files; see `bench.audio.content_hash`."""
    return audio_sha256([str(path) for path in source_paths(source)], source.folder)


def audio_left_out(source: AudioSource) -> list[str]:
    """Describe audio below a source's folders that compression does not use, one entry per folder."""
    if source.layout == "manifest" or source.root is None:
        return []
    named = [] if source.layout == "folder" else _splits(source, source.root)
    folders = [source.root / split for split in source.splits or named] or [source.root]
    remarks = []
    for folder in folders:
        listed = list(files_below(folder))
        remarks.append(not_read(folder, [path for path in listed if is_audio(path)], listed))
    return [remark for remark in remarks if remark]


def _splits(source: AudioSource, root: Path) -> Sequence[str]:
    if source.splits:
        return source.splits
    # A link to an unmounted disk counts as a split, so that reading it raises an error.
    found = sorted(path.name for path in root.glob("train-*") if path.is_dir() or path.is_symlink())
    if not found:
        raise UserError(f"Expected LibriSpeech's folders train-* in {root}. Found none. Name the splits.")
    return found


def _check_once(paths: Sequence[Path], remedy: str) -> None:
    path, count = Counter(paths).most_common(1)[0]
    if count > 1:
        raise UserError(f"Expected every audio file once. Found {path} {count} times. {remedy}")


def within_hours(files: Sequence[AudioFile], source: AudioSource) -> list[AudioFile]:
    """Limit a source's files to its ``hours``. Without ``hours``, return all.

    Files are drawn in random order until the hours are full. With the same ``hours_seed``, a smaller draw is part of a
    larger one.

    Args:
        files: the source's files, in the order of `source_paths`.
        source: its ``hours`` and ``hours_seed`` are used.

    Returns:
        The drawn files, in their original order.

    Raises:
        UserError: there is less audio, or the first drawn file is too long.
    """
    if source.hours is None:
        return list(files)
    if hours(files) < source.hours:
        raise UserError(
            f"Expected {source.hours:g} hours of audio. Found {hours(files):.3g} in {source.manifest or source.root}. "
            "Lower data.hours, or leave it out."
        )
    drawn = np.random.default_rng(source.hours_seed).permutation(len(files))
    durations_h = np.array([files[index].duration_s for index in drawn]) / 3600
    # Rounding must not drop the last file if all audio is requested.
    count = int(np.searchsorted(durations_h.cumsum(), source.hours * (1 + 1e-9), side="right"))
    if not count:
        raise UserError(
            f"Expected data.hours of at least one file. Found {source.hours:g}, but the first file has "
            f"{files[drawn[0]].duration_s:.1f} s. Raise data.hours."
        )
    return [files[index] for index in sorted(drawn[:count])]


def _split_paths(root: Path, split: str) -> list[Path]:
    if not (root / split).is_dir():
        present = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "no folder"
        raise UserError(f"Expected split {split!r} in {root}. Found {present}. Correct the splits.")
    return find_audio(root / split)


def read_source_manifest(source: AudioSource, columns: Sequence[str]) -> pd.DataFrame:
    """Read the manifest of a source, see `bench.audio.manifest`. Rows of other splits may be among the result's.

    Raises:
        UserError: the source has no manifest, or it cannot be read.
    """
    if source.manifest is None:
        raise UserError("Expected the file of the manifest. Found none. Add manifest: FILE to audio in the data file.")
    return read_manifest(source.manifest, columns, chosen=source.format, splits=source.splits or ("train",))


def _manifest_paths(source: AudioSource) -> list[Path]:
    table = read_source_manifest(source, ("path", "split") if source.splits else ("path",))
    splits = source.splits or ("train",)
    if "split" in table.columns:
        table = table[table["split"].isin(splits)]
    if table.empty:
        raise UserError(f"Expected rows of split {', '.join(splits)} in {source.manifest}. Found none.")
    folder = source.folder or Path()
    paths = [folder / path for path in table["path"]]
    _check_once(paths, f"Remove its repeated rows from {source.manifest}.")
    return paths
