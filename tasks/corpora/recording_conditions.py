"""Recording conditions of the embedded corpora, stored with predictions: noise level, room and voice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from tasks.corpora.embedded_manifest import IDENTITY, MANIFEST, read_manifest

COLUMNS = ("snr_db", "reverberation_s", "voice")


def recording_conditions(wav_paths: Iterable[str]) -> dict[str, Mapping[str, str]]:
    """Look up the recording conditions in the manifests of embedded corpora.

    Args:
        wav_paths: audio files of any corpora.

    Returns:
        Maps paths to the columns `COLUMNS`. Recordings of other corpora have no entry.
    """
    found: dict[str, Mapping[str, str]] = {}
    for wav_path in set(wav_paths):
        path = Path(wav_path)
        corpus = _corpus_folder(path.parent)
        if corpus is not None:
            found[wav_path] = _conditions(corpus).get(path.relative_to(corpus).as_posix(), {})
    return found


@cache
def _corpus_folder(folder: Path) -> Path | None:
    above = (folder, *folder.parents)
    return next((one for one in above if (one / IDENTITY).is_file() and (one / MANIFEST).is_file()), None)


@cache
def _conditions(corpus: Path) -> dict[str, dict[str, str]]:
    return {row["path"]: {column: row[column] for column in COLUMNS} for row in read_manifest(corpus)}
