"""``manifest.csv`` of an embedded corpus: one row per recording."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

MANIFEST = "manifest.csv"
IDENTITY = "corpus.json"
"""File with the corpus's version, the hash of its audio and the software that made it."""


@dataclass(frozen=True)
class ManifestRow:
    """One recording."""

    path: str
    """Relative to the manifest."""
    split: str
    text: str
    label: str
    """The class, if the task has classes; in a mixture, who speaks when (`tasks.metrics.speaker_spans`)."""
    speaker: str
    """Two names in a mixture, with a space between them. So are voices."""
    voice: str
    snr_db: float | None
    """Empty for pure noise."""
    reverberation_s: float
    """0 without a room; of the more reverberant source of a mixture."""
    duration_s: float
    sha256: str
    """Hash of the file's bytes."""


def write_manifest(rows: Sequence[ManifestRow], folder: Path) -> None:
    """Write ``manifest.csv``."""
    with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(ManifestRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_manifest(folder: Path) -> list[dict[str, str]]:
    """Read ``manifest.csv`` back, every value as text."""
    with (folder / MANIFEST).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
