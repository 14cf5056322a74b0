"""Says which files of a corpus its reader leaves out."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from bench.audio.search import not_read

logger = logging.getLogger(__name__)


def warn_of_audio_left_out(folder: Path, read: Collection[Path], listed: Iterable[Path] | None = None) -> None:
    """Warn of audio below a folder that is no part of the corpus; see `bench.audio.search.not_read`."""
    if remark := not_read(folder, read, listed):
        logger.warning("%s Convert them, list them, or ignore this if they do not belong to the corpus.", remark)
