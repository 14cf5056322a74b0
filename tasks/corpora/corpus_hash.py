"""One hash of everything in a corpus that scores depend on, to notice changed labels or audio."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from bench.audio.content_hash import audio_sha256
from bench.contracts import Settings

SCORED_COLUMNS = ("id", "num_samples", "label", "labels", "transcription", "iob", "start_sec", "end_sec")


def corpus_folder(data: Settings) -> Path | None:
    """Return the folder of a corpus: its ``root``, or its manifest's folder. None if its layout has neither."""
    manifest: Path | None = getattr(data, "manifest", None)
    root: Path | None = getattr(data, "root", None)
    return manifest.parent if manifest else root


def corpus_sha256(splits: Mapping[str, pd.DataFrame], root: Path | None, further_columns: Collection[str] = ()) -> str:
    """Hash a corpus: utterances, labels and the bytes of the audio, but not the location of the files.

    Args:
        splits: tables with the column ``wav_path`` and some of `SCORED_COLUMNS`.
        root: folder of the corpus, see `bench.audio.content_hash`.
        further_columns: other columns that scores depend on.

    Raises:
        UserError: a file no longer exists.
    """
    digest = hashlib.sha256()
    for name, table in splits.items():
        columns = [str(column) for column in table if column in SCORED_COLUMNS or column in further_columns]
        digest.update(f"{name}\n{table[sorted(columns)].to_csv(index=False)}".encode())
        digest.update(audio_sha256(list(dict.fromkeys(map(str, table["wav_path"]))), root).encode())
    return digest.hexdigest()
