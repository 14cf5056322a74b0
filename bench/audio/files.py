"""Speech files: checks headers, and reads 16 kHz mono waveforms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.audio.index import Fact, look_up
from bench.audio.opening import (
    MOST_CHANNELS,
    Unsought,
    blocks,
    check_complete,
    has_unknown_length,
    opened,
    true_length,
)
from bench.audio.resampling import HIGHEST_RATE_HZ, LOWEST_RATE_HZ, SAMPLE_RATE_HZ, resampled, resampled_length
from bench.audio.search import AUDIO_SUFFIXES, find_audio
from bench.errors import UserError

__all__ = [
    "AUDIO_SUFFIXES",
    "SAMPLE_RATE_HZ",
    "AudioFile",
    "UnusableFilesError",
    "find_audio",
    "hours",
    "read_header",
    "read_headers",
    "read_waveform",
]


class UnusableFilesError(UserError):
    """Some files cannot be used. The message names the first one and their number."""

    def __init__(self, reasons: Sequence[str], num_files: int) -> None:
        others = f" (And {len(reasons) - 1:,} more of {num_files:,} files.)" if len(reasons) > 1 else ""
        super().__init__(f"{reasons[0]}{others}")
        self.reasons = list(reasons)
        """The fault of each file."""


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A readable file, as its header describes it."""

    path: Path
    num_samples: int
    """Samples per channel after resampling to 16 kHz."""
    sample_rate_hz: int
    """The file's own rate."""
    is_streamed: bool = False
    """Whether its header lacks the length, because it was written to a pipe."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / SAMPLE_RATE_HZ


def read_header(path: Path, *, resample: bool = False) -> AudioFile:
    """Read one file's header.

    Raises:
        UserError: the file is missing, unreadable, truncated or empty, has too many channels or another rate than
            16 kHz. With ``resample``, only rates that no recorder uses are refused.
    """
    with opened(path) as file:
        sample_rate_hz, is_streamed = file.samplerate, has_unknown_length(file)
        _check_format(path, file, resample=resample)
        num_frames = true_length(path, file)
    if num_frames <= 0:
        raise UserError(f"Expected speech. Found an empty file: {path}. Replace it, or take it out of the data.")
    return AudioFile(
        path=path,
        num_samples=resampled_length(num_frames, sample_rate_hz),
        sample_rate_hz=sample_rate_hz,
        is_streamed=is_streamed,
    )


def _check_format(path: Path, file: Unsought, *, resample: bool) -> None:
    rate_hz = file.samplerate
    if rate_hz == SAMPLE_RATE_HZ:
        pass
    elif not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise UserError(
            f"Expected a sample rate of {LOWEST_RATE_HZ / 1000:g} to {HIGHEST_RATE_HZ / 1000:g} kHz. Found {rate_hz} "
            f"Hz in {path}. Convert it to 16 kHz, or take it out of the data."
        )
    elif not resample:
        raise UserError(
            f"Expected 16 kHz audio. Found {rate_hz} Hz in {path}. "
            "Resample it, or let the suite do it: resample: true in the data file, or --set data.resample=true "
            "(`bench features`: --resample)."
        )
    if file.channels > MOST_CHANNELS:
        raise UserError(
            f"Expected at most {MOST_CHANNELS} channels. Found {file.channels} in {path}. Mix them down, or take the "
            "file out of the data."
        )


def read_headers(paths: Sequence[Path], *, resample: bool = False, root: Path | None = None) -> list[AudioFile]:
    """Read many headers, in order.

    Args:
        paths: the files.
        resample: see `read_header`.
        root: folder of their corpus. Its index keeps what is read, see `bench.audio.index`. None: read all files.

    Raises:
        UnusableFilesError: see `read_header`. It holds the fault of every file.
    """
    read = partial(_header_or_error, resample=resample)
    headers = look_up(Fact("header", _HEADER, read, _encoded, partial(_decoded, resample=resample)), paths, root)
    reasons = [str(header) for header in headers if isinstance(header, UserError)]
    if reasons:
        raise UnusableFilesError(reasons, len(paths))
    return [header for header in headers if isinstance(header, AudioFile)]


def _header_or_error(path: Path, *, resample: bool) -> AudioFile | UserError:
    try:
        return read_header(path, resample=resample)
    except UserError as error:
        return error


_HEADER = re.compile(r"[1-9]\d{3,5} [1-9]\d{0,10} [01]")
"""A header in the index: rate in Hz, samples at 16 kHz, whether it was streamed."""


def _encoded(header: AudioFile | UserError) -> str | None:
    if isinstance(header, UserError):
        return None
    return f"{header.sample_rate_hz} {header.num_samples} {header.is_streamed:d}"


def _decoded(path: Path, value: str, *, resample: bool) -> AudioFile | None:
    sample_rate_hz, num_samples, is_streamed = map(int, value.split())
    # Reading it raises the error.
    is_refused = sample_rate_hz != SAMPLE_RATE_HZ and not resample
    return None if is_refused else AudioFile(path, num_samples, sample_rate_hz, bool(is_streamed))


def read_waveform(file: AudioFile, *, start: int = 0, num_samples: int | None = None) -> NDArray[np.float32]:
    """Read a segment of a file as mono at 16 kHz, shape (samples,), full scale 1.0.

    Args:
        file: the result of `read_header`.
        start: first sample, at 16 kHz.
        num_samples: number of samples at 16 kHz. Default: all that follow.

    Raises:
        UserError: the file is truncated, or contains NaN or infinite samples.
    """
    stop = file.num_samples if num_samples is None else min(start + num_samples, file.num_samples)
    if file.sample_rate_hz == SAMPLE_RATE_HZ and not file.is_streamed:
        return _mono(file, start, max(0, stop - start))
    # Neither a resampler nor a decoder of unknown length can start in the middle.
    waveform = _mono(file, 0, None)
    if file.sample_rate_hz != SAMPLE_RATE_HZ:
        waveform = resampled(waveform, file.sample_rate_hz)
    check_complete(file.path, file.num_samples, len(waveform), SAMPLE_RATE_HZ)
    return waveform[start:stop]


def _mono(file: AudioFile, start: int, num_frames: int | None) -> NDArray[np.float32]:
    """Decode frames at the file's own rate, and average the channels."""
    parts: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
    with opened(file.path) as opened_file:
        if start:
            opened_file.seek(start)
        # Overflows are refused below, with the file's name.
        with np.errstate(over="ignore", invalid="ignore"):
            for samples in blocks(opened_file, num_frames):
                parts.append(samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0])
    waveform = np.concatenate(parts)
    if num_frames is not None:
        check_complete(file.path, num_frames, len(waveform), file.sample_rate_hz)
    if not np.isfinite(waveform).all():
        raise UserError(f"Expected finite samples. Found NaN or infinity in {file.path}. Take it out of the data.")
    return waveform


def hours(files: Iterable[AudioFile]) -> float:
    """Sum the durations, in hours."""
    return sum(file.duration_s for file in files) / 3600
