"""Writes parts of recordings to the cache as audio files, because everything downstream reads whole files."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from bench.audio.files import AudioFile, read_headers
from bench.audio.opening import blocks, opened
from bench.cache_folder import cache_root
from bench.errors import UserError
from bench.files.atomic import replacing, write_atomically
from bench.sizes import size_text
from bench.text import shortened

logger = logging.getLogger(__name__)

OVERSHOOT_S = 0.5
"""How far a part may reach past the end of its recording, as in Kaldi. It is cut there."""
_BYTES_PER_SAMPLE = 4
_HEADER_BYTES = 100
_SOURCE = "source.txt"


@dataclass(frozen=True)
class Cut:
    """A part of a recording."""

    name: str
    """The utterance's, for errors."""
    recording: Path
    start_s: float
    duration_s: float | None
    """None: to the end of the recording."""
    channel: int | None = None
    """Counted from 0. None: all channels."""


def cut_audio(source: Path, cuts: Sequence[Cut]) -> list[str]:
    """Write each part to a WAV file in the cache, at the recording's own rate, unless it is there.

    Args:
        source: the list that names the parts.
        cuts: the parts.

    Returns:
        The path of each part's file.

    Raises:
        UserError: a recording cannot be read, a part is not inside it, or the disk is too small.
    """
    recordings = list(dict.fromkeys(cut.recording for cut in cuts))
    headers = dict(zip(recordings, read_headers(recordings, resample=True, root=source.parent), strict=True))
    for cut in cuts:
        _check(cut, headers[cut.recording], source)
    states = {recording: _state(recording) for recording in recordings}
    folder = cut_folder(source)
    paths = [folder / f"{_digest(states[cut.recording], cut.start_s, cut.duration_s, cut.channel)}.wav" for cut in cuts]
    missing: defaultdict[Path, dict[Path, Cut]] = defaultdict(dict)
    for path, cut in zip(paths, cuts, strict=True):
        if not path.exists():
            missing[cut.recording][path] = cut
    need_bytes = sum(_bytes(headers[recording], parts.values()) for recording, parts in missing.items())
    announce(source, sum(map(len, missing.values())), need_bytes)
    for recording, parts in missing.items():
        _write_parts(headers[recording], parts)
    return [str(path) for path in paths]


def cut_root() -> Path:
    """Return the folder with a subfolder for every list whose audio was written."""
    return cache_root() / "cut-audio"


def cut_folder(source: Path) -> Path:
    """Return the folder for the audio of a list."""
    return cut_root() / _digest(source.absolute())


def source_of(folder: Path) -> Path | None:
    """Return the list that a folder of `cut_root` belongs to. None if it does not say."""
    try:
        return Path((folder / _SOURCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def announce(source: Path, num_files: int, need_bytes: int) -> None:
    """Log how much will be written for a list, after a look at the disk.

    Raises:
        UserError: the disk has less room.
    """
    if not num_files:
        return
    folder = cut_folder(source)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < need_bytes:
        raise UserError(
            f"Expected {size_text(need_bytes)} of free disk for {num_files:,} utterances of {source}, which are "
            f"written to the cache as audio files. Found {size_text(free_bytes)} at {existing}. Make room, or set "
            "SUPERB_BENCH_CACHE to a folder on another disk."
        )
    logger.info(
        "Writing %s utterances of %s as audio files, at most %s, to %s",
        f"{num_files:,}",
        source,
        size_text(need_bytes),
        folder,
    )
    write_atomically(folder / _SOURCE, str(source.absolute()))


def _check(cut: Cut, recording: AudioFile, source: Path) -> None:
    end_s = recording.duration_s if cut.duration_s is None else cut.start_s + cut.duration_s
    if not 0 <= cut.start_s < min(end_s, recording.duration_s) or end_s > recording.duration_s + OVERSHOOT_S:
        raise UserError(
            f"Expected {shortened(repr(cut.name), 40)} of {source} to lie within its recording of "
            f"{recording.duration_s:.2f} s, {shortened(str(recording.path), 100)}. Found {cut.start_s:.6g} s to "
            f"{end_s:.6g} s. Correct it."
        )


def _bytes(recording: AudioFile, cuts: Collection[Cut]) -> int:
    with opened(recording.path) as file:
        channels = file.channels
    longest_s = [recording.duration_s - cut.start_s for cut in cuts]
    durations_s = [cut.duration_s or longest for cut, longest in zip(cuts, longest_s, strict=True)]
    samples = sum(durations_s) * recording.sample_rate_hz * channels
    return int(samples * _BYTES_PER_SAMPLE) + len(cuts) * _HEADER_BYTES


def _write_parts(recording: AudioFile, parts: Mapping[Path, Cut]) -> None:
    with opened(recording.path) as file:
        # 16-bit samples stay as they are. Other codecs decode to floats.
        subtype = "PCM_16" if file.subtype == "PCM_16" else "FLOAT"
        # A decoder of unknown length cannot start in the middle.
        whole = _joined(blocks(file), file.channels) if recording.is_streamed else None
        for path, cut in parts.items():
            start = round(cut.start_s * recording.sample_rate_hz)
            count = None if cut.duration_s is None else round(cut.duration_s * recording.sample_rate_hz)
            if whole is not None:
                samples = whole[start : None if count is None else start + count]
            else:
                file.seek(start)
                samples = _joined(blocks(file, count), file.channels)
            _write(path, _channel(samples, cut), recording.sample_rate_hz, subtype)


def _joined(parts: Iterator[NDArray[np.float32]], channels: int) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((0, channels), np.float32), *parts])


def _channel(samples: NDArray[np.float32], cut: Cut) -> NDArray[np.float32]:
    if cut.channel is None:
        return samples
    if not 0 <= cut.channel < samples.shape[1]:
        raise UserError(
            f"Expected channel {cut.channel} for {shortened(repr(cut.name), 40)}. Found {samples.shape[1]} channels in "
            f"{cut.recording}, counted from 0. Correct it."
        )
    return samples[:, [cut.channel]]


def _write(path: Path, samples: NDArray[np.float32], sample_rate_hz: int, subtype: str) -> None:
    content = io.BytesIO()
    soundfile.write(content, samples, sample_rate_hz, subtype=subtype, format="WAV")
    write_bytes(path, content.getbuffer())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _state(path: Path) -> str:
    status = path.stat()
    return f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _digest(*values: object) -> str:
    return hashlib.sha256(b"\n".join(os.fsencode(str(value)) for value in values)).hexdigest()[:32]


def digest_of_files(files: Sequence[Path]) -> str:
    """Return a short hash that changes with the path, size or times of a file."""
    return _digest(*map(_state, files))
