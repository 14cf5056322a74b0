"""The audio files to train on."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from bench.audio.content_hash import audio_sha256
from bench.audio.files import SAMPLE_RATE_HZ, AudioFile, hours
from bench.audio.sources import source_files, within_hours
from bench.contracts import AudioSource
from bench.errors import UserError
from compressors.settings import TrainingConfig

logger = logging.getLogger(__name__)


def training_files(source: AudioSource, config: TrainingConfig, shortest_samples: int) -> list[AudioFile]:
    """Find the usable audio files of a source.

    Args:
        source: where the files are. If it names no splits, LibriSpeech's training splits are used.
        config: files shorter than ``min_duration_s`` are left out; with ``drop_longer``, also those longer than
            ``max_duration_s``.
        shortest_samples: length of one frame of the model; shorter files are left out too.

    Raises:
        UserError: no files, an unreadable or empty file, another sample rate, only files that are too short, or fewer
            hours than the source promises.
    """
    files = source_files(source)
    shortest = max(shortest_samples, round(config.min_duration_s * SAMPLE_RATE_HZ))
    usable = [file for file in files if file.num_samples >= shortest]
    if not usable:
        longest = max(file.duration_s for file in files)
        raise UserError(
            f"Expected training audio of at least {shortest / SAMPLE_RATE_HZ:g} s. Found {len(files)} files, the "
            f"longest of {longest:.2f} s, in {_place(source)}. Add longer ones, or lower min_duration_s."
        )
    if len(usable) < len(files):
        logger.warning("%d of %d files are too short and left out", len(files) - len(usable), len(files))
    used = within_hours(_without_longer(usable, config, source), source)
    logger.info("%d files, %.2f hours of training audio", len(used), hours(used))
    return used


def _without_longer(files: list[AudioFile], config: TrainingConfig, source: AudioSource) -> list[AudioFile]:
    if not config.drop_longer:
        return files
    kept = [file for file in files if file.duration_s <= config.max_duration_s]
    if not kept:
        raise UserError(
            f"Expected training audio of at most {config.max_duration_s:g} s. Found {len(files)} longer files in "
            f"{_place(source)}. Cut them, raise max_duration_s, or --set drop_longer=false to crop them."
        )
    if len(kept) < len(files):
        num_left_out = len(files) - len(kept)
        logger.info("%d of %d files are over %g s and left out", num_left_out, len(files), config.max_duration_s)
    return kept


def _place(source: AudioSource) -> str:
    return str(source.manifest if source.layout == "manifest" else source.root)


def audio_identity(files: Sequence[AudioFile], source: AudioSource) -> dict[str, str]:
    """Return what unfinished training must find again: the files, and their content."""
    return {
        "audio": audio_hash(files),
        "audio_content": audio_sha256([str(file.path) for file in files], source.folder),
    }


def audio_hash(files: Sequence[AudioFile]) -> str:
    """Return a hash of the files' paths and lengths. It identifies a choice of training audio."""
    listing = "".join(f"{file.path}\t{file.num_samples}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()
