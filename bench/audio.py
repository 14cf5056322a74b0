"""Speech files: found, checked by their headers, read as 16 kHz mono waveforms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from bench.errors import UserError
from bench.threads import map_in_threads

SAMPLE_RATE_HZ = 16_000
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})


class UnusableFilesError(UserError):
    """Some files cannot be used; the message tells of the first, and how many there are."""

    def __init__(self, reasons: Sequence[str], num_files: int) -> None:
        others = f" (And {len(reasons) - 1:,} more of {num_files:,} files.)" if len(reasons) > 1 else ""
        super().__init__(f"{reasons[0]}{others}")
        self.reasons = list(reasons)
        """What is wrong with each."""


@dataclass(frozen=True)
class AudioFile:
    """A readable file, as its header describes it."""

    path: Path
    num_samples: int
    """Samples a channel once at 16 kHz."""
    sample_rate_hz: int
    """The file's own rate."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / SAMPLE_RATE_HZ


def find_audio(root: Path) -> list[Path]:
    """List the audio files below ``root``, sorted.

    Raises:
        UserError: the folder does not exist, or holds no audio.
    """
    if not root.is_dir():
        raise UserError(f"Expected a folder of audio. Found nothing at {root}. Correct the path in the data file.")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    if not found:
        raise UserError(f"Expected audio ({', '.join(sorted(AUDIO_SUFFIXES))}) below {root}. Found none.")
    return found


def read_header(path: Path, *, resample: bool = False) -> AudioFile:
    """Read one file's header.

    Raises:
        UserError: missing, unreadable or empty file; another rate than 16 kHz unless ``resample``.
    """
    try:
        # `soundfile.info` asks for a description besides, which takes half of its time.
        with soundfile.SoundFile(path) as file:
            num_frames, sample_rate_hz = file.frames, file.samplerate
    except (soundfile.LibsndfileError, OSError) as error:
        raise UserError(
            f"Expected an audio file. {_what_is_wrong(path, error)}, or take it out of the data."
        ) from error
    if num_frames <= 0:
        raise UserError(f"Expected speech. Found an empty file: {path}. Replace it, or take it out of the data.")
    if sample_rate_hz != SAMPLE_RATE_HZ and not resample:
        raise UserError(
            f"Expected 16 kHz audio. Found {sample_rate_hz} Hz in {path}. "
            "Resample it, or let the suite do it: resample: true in the data file, or --set data.resample=true "
            "(`bench features`: --resample)."
        )
    _check_riff_size(path)
    num_samples = -(-num_frames * SAMPLE_RATE_HZ // sample_rate_hz)
    return AudioFile(path=path, num_samples=num_samples, sample_rate_hz=sample_rate_hz)


def _what_is_wrong(path: Path, error: Exception) -> str:
    if not path.exists():
        return f"{path} is missing. Restore it"
    if path.is_dir():
        return f"{path} is a folder. Name its files"
    if path.stat().st_size == 0:
        return f"{path} is empty. Replace it"
    return f"{path} cannot be read ({error}). Convert it to WAV or FLAC"


def _check_riff_size(path: Path) -> None:
    """Refuse a WAV file that was cut off, which libsndfile reads as a shorter one."""
    with path.open("rb") as file:
        head = file.read(8)
    declared = int.from_bytes(head[4:8], "little") + 8
    # Writers that cannot seek leave a size of 0 or of all ones.
    is_told = head[:4] == b"RIFF" and 8 < declared < 2**32
    if is_told and declared > path.stat().st_size + 1:
        raise UserError(
            f"Expected {declared} bytes in {path}, as its header says. Found {path.stat().st_size}: it is cut off. "
            "Copy it again, or take it out of the data."
        )


def read_headers(paths: Sequence[Path], *, resample: bool = False) -> list[AudioFile]:
    """Read many headers, in the order given.

    Raises:
        UnusableFilesError: as `read_header`, with what is wrong with every file.
    """
    headers = map_in_threads(lambda path: _header_or_error(path, resample=resample), paths)
    reasons = [str(header) for header in headers if isinstance(header, UserError)]
    if reasons:
        raise UnusableFilesError(reasons, len(paths))
    return [header for header in headers if isinstance(header, AudioFile)]


def _header_or_error(path: Path, *, resample: bool) -> AudioFile | UserError:
    try:
        return read_header(path, resample=resample)
    except UserError as error:
        return error


def read_waveform(file: AudioFile, *, start: int = 0, num_samples: int | None = None) -> NDArray[np.float32]:
    """Read a stretch of a file as mono at 16 kHz, shape (samples,), full scale 1.0.

    Args:
        file: what `read_header` returned.
        start: first sample, at 16 kHz.
        num_samples: how many samples at 16 kHz; all that follow by default.

    Raises:
        UserError: the file is torn, or holds NaN or infinite samples.
    """
    same_rate = file.sample_rate_hz == SAMPLE_RATE_HZ
    stop = None if num_samples is None else start + num_samples
    try:
        samples, _ = soundfile.read(
            file.path,
            dtype="float32",
            always_2d=True,
            start=start if same_rate else 0,
            stop=stop if same_rate else None,
        )
    except (soundfile.LibsndfileError, OSError) as error:
        raise UserError(f"Expected an audio file. {file.path} cannot be read ({error}).") from error
    waveform: NDArray[np.float32] = samples.mean(axis=1)
    if not np.isfinite(waveform).all():
        raise UserError(f"Expected finite samples. Found NaN or infinity in {file.path}. Take it out of the data.")
    if same_rate:
        return waveform
    return _resampled(waveform, file.sample_rate_hz)[start:stop]


def _resampled(waveform: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    import torch
    from torchaudio.functional import resample

    resampled: NDArray[np.float32] = resample(torch.from_numpy(waveform), sample_rate_hz, SAMPLE_RATE_HZ).numpy()
    return resampled


def hours(files: Iterable[AudioFile]) -> float:
    """Sum the durations, in hours."""
    return sum(file.duration_s for file in files) / 3600
