"""Warns of audio that a corpus's reader leaves out."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from bench.audio.search import not_read

logger = logging.getLogger(__name__)


def warn_of_audio_left_out(folder: Path, read: Collection[Path], listed: Iterable[Path] | None = None) -> None:
    """Warn of audio below a folder that the reader did not read, see `bench.audio.search.not_read`."""
    if remark := not_read(folder, read, listed):
        logger.warning("%s Convert them, list them, or ignore this if they do not belong to the corpus.", remark)
