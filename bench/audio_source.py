"""Finds the audio that a data file names for compression."""

from __future__ import annotations

from pathlib import Path

from bench.audio import find_audio
from bench.contracts import AudioSource
from bench.errors import UserError
from bench.manifest import read_manifest


def source_paths(source: AudioSource) -> list[Path]:
    """List the files of a source; LibriSpeech's training splits where none is named.

    Raises:
        UserError: nothing there.
    """
    if source.layout == "manifest":
        return _manifest_paths(source)
    if source.root is None or not source.root.is_dir():
        raise UserError(f"Expected a folder of audio as `root`. Found nothing at {source.root}. Correct the path.")
    if source.layout == "folder" and not source.splits:
        return find_audio(source.root)
    splits = source.splits or sorted(path.name for path in source.root.glob("train-*"))
    if not splits:
        raise UserError(f"Expected LibriSpeech's folders train-* in {source.root}. Found none. Name the splits.")
    return [path for split in splits for path in _split_paths(source.root, split)]


def _split_paths(root: Path, split: str) -> list[Path]:
    if not (root / split).is_dir():
        present = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "no folder"
        raise UserError(f"Expected split {split!r} in {root}. Found {present}. Correct the splits.")
    return find_audio(root / split)


def _manifest_paths(source: AudioSource) -> list[Path]:
    manifest = source.manifest
    if manifest is None:
        raise UserError("Expected the file of the manifest. Found none. Add manifest: FILE to audio in the data file.")
    table = read_manifest(manifest, ("path", "split") if source.splits else ("path",))
    splits = source.splits or ("train",)
    if "split" in table.columns:
        table = table[table["split"].isin(splits)]
    if table.empty:
        raise UserError(f"Expected rows of split {', '.join(splits)} in {manifest}. Found none.")
    return [manifest.parent / path for path in table["path"]]
