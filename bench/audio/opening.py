"""Opens audio files, and finds their length if their headers lack it or are wrong."""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import soundfile

from bench.errors import UserError

BLOCK_SAMPLES = 1 << 20
"""Number of samples to decode at once, over all channels."""
MOST_CHANNELS = 64
LONGEST_H = 24.0
"""In hours. A longer recording does not fit in memory, or its header is wrong."""
COMPLETE_SHARE = 0.95
"""Share of the declared length that must be decodable. Lossy formats may only estimate their length."""

_UNKNOWN = 2**63 - 1
"""The length that libsndfile reports for a FLAC file that was written to a pipe."""
_PLACEHOLDERS = (0x7FFFF000, 0x80001000, 0xFFFFF000)
_LEAST_BYTES_PER_S = 400
"""Every speech codec needs more than this (3.2 kbit/s), except for silence."""


class Unsought(soundfile.SoundFile):  # type: ignore[misc]
    """Decodes from its position to the end without seeking.

    soundfile seeks after every block, which fails at the end of a FLAC file of unknown length.
    """

    def seekable(self) -> bool:
        """Return False."""
        return False


@contextmanager
def opened(path: Path) -> Iterator[Unsought]:
    """Open a regular file for decoding.

    Raises:
        UserError: the file is missing, is not a regular file, is not audio, or has a name that is not UTF-8.
    """
    _check_name(path)
    try:
        # Opening a pipe must not block.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as raw:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UserError(f"Expected an audio file. {path} is no regular file. Name a file.")
            _check_not_cut_off(path, raw)
            with _decoder(raw) as file:
                yield file
    except (soundfile.LibsndfileError, OSError) as error:
        raise UserError(
            f"Expected an audio file. {_what_is_wrong(path, error)}, or take it out of the data."
        ) from error


@contextmanager
def _decoder(raw: IO[bytes]) -> Iterator[Unsought]:
    position = _empty_data_size(raw)
    if position is None:
        # By its descriptor, because libsndfile cannot open every file name.
        with Unsought(raw.fileno(), closefd=False) as file:
            yield file
        return
    content = io.BytesIO(raw.read())
    content.seek(position)
    content.write(b"\xff\xff\xff\xff")
    content.seek(0)
    with Unsought(content) as file:
        yield file


def _check_name(path: Path) -> None:
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        name = os.fsencode(path).decode(errors="backslashreplace")
        raise UserError(f"Expected file names in UTF-8. Found {name}. Rename the file (e.g. with convmv).") from error
    if "\0" in os.fspath(path):
        raise UserError(f"Expected the path of a file. Found a NUL character in {os.fspath(path)!r}. Remove it.")


def _what_is_wrong(path: Path, error: Exception) -> str:
    if not os.path.lexists(path):
        return f"{path} is missing. Restore it"
    if not path.exists():
        return f"{path} is a link to {path.readlink()}, which is missing. Restore that"
    if path.is_dir():
        return f"{path} is a folder. Name its files"
    if not path.is_file():
        return f"{path} is no regular file. Name a file"
    if path.stat().st_size == 0:
        return f"{path} is empty. Replace it"
    told = error.error_string if isinstance(error, soundfile.LibsndfileError) else getattr(error, "strerror", error)
    return f"{path} cannot be read ({str(told).rstrip('.')}). Convert it to WAV or FLAC"


def _empty_data_size(raw: IO[bytes]) -> int | None:
    """Find the position of a data size of 0 in a WAV file that was written to a pipe. None for other files.

    libsndfile handles the other placeholders.
    """
    head = _start(raw, 12)
    size = os.fstat(raw.fileno()).st_size
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    riff_end = int.from_bytes(head[4:8], "little") + 8
    position = 12
    while len(chunk := _at(raw, position, 8)) == 8:
        length = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"data":
            is_open = _is_placeholder(riff_end - 8) or riff_end <= position + 8
            return position + 4 if length == 0 and is_open and size > position + 8 else None
        position += 8 + length + length % 2
    return None


def _is_placeholder(declared: int) -> bool:
    """Return whether a 32-bit size is a placeholder of ffmpeg, flac, SoX or arecord for an unknown size."""
    low, high, highest = _PLACEHOLDERS
    return declared == 0 or low <= declared <= high or declared >= highest


def _check_not_cut_off(path: Path, raw: IO[bytes]) -> None:
    """Refuse files that are shorter than their containers declare, which libsndfile accepts."""
    size = os.fstat(raw.fileno()).st_size
    declared = max(_riff_bytes(raw), _xing_bytes(raw), _ogg_bytes(raw, size))
    # One byte of padding is often missing.
    if declared > size + 1:
        raise UserError(
            f"Expected {declared} bytes in {path}, as its header says. Found {size}: it is cut off. "
            "Copy it again, or take it out of the data."
        )


def _riff_bytes(raw: IO[bytes]) -> int:
    head = _start(raw, 8)
    declared = int.from_bytes(head[4:8], "little")
    return 0 if head[:4] != b"RIFF" or _is_placeholder(declared) else declared + 8


def _xing_bytes(raw: IO[bytes]) -> int:
    """Read the length of an MP3 file from the table in its first frame. 0 without such a table."""
    head = _start(raw, 10)
    begin = 0
    if head[:3] == b"ID3" and len(head) == 10:
        begin = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    frame = _at(raw, begin, 64)
    if frame[:1] != b"\xff":
        return 0
    tag = max(frame.find(b"Xing"), frame.find(b"Info"))
    if tag < 0:
        return 0
    flags, *values = struct.unpack(">III", frame[tag + 4 : tag + 16].ljust(12, b"\0"))
    has_frames, has_bytes = flags & 1, flags & 2
    return begin + values[1 if has_frames else 0] if has_bytes else 0


def _ogg_bytes(raw: IO[bytes], size: int) -> int:
    """Compute the end of the last page of an Ogg file. 0 for other files."""
    if _start(raw, 4) != b"OggS":
        return 0
    # The longest possible page.
    begin = max(0, size - 65_307)
    tail = _at(raw, begin, 65_307)
    # The version, 0, and three flags follow OggS.
    page = tail.rfind(b"OggS\0")
    table = tail[page + 27 : page + 27 + tail[page + 26]] if 0 <= page < len(tail) - 27 else b""
    return begin + page + 27 + len(table) + sum(table) if table else 0


def _start(raw: IO[bytes], count: int) -> bytes:
    return _at(raw, 0, count)


def _at(raw: IO[bytes], position: int, count: int) -> bytes:
    return os.pread(raw.fileno(), count, position)


def blocks(file: Unsought, num_frames: int | None = None) -> Iterator[Any]:
    """Decode from the current position, as arrays (frames, channels) of float32.

    Memory depends on the actual content, not on the header.

    Args:
        file: see `opened`.
        num_frames: largest number of frames. Default: all that follow.
    """
    block = max(1, BLOCK_SAMPLES // file.channels)
    left = num_frames
    while left is None or left > 0:
        wanted = block if left is None else min(block, left)
        samples = file.read(wanted, dtype="float32", always_2d=True)
        if len(samples):
            yield samples
        if len(samples) < wanted:
            return
        left = None if left is None else left - wanted


def has_unknown_length(file: Unsought) -> bool:
    """Return whether the header lacks the length."""
    return bool(file.frames == _UNKNOWN)


def true_length(path: Path, file: Unsought) -> int:
    """Return the samples per channel: the declared number if it is plausible, otherwise counted by decoding.

    Raises:
        UserError: the file is shorter than its header declares, or longer than a day.
    """
    num_frames = _true_length(path, file)
    _check_duration(path, num_frames, file.samplerate)
    return num_frames


def _true_length(path: Path, file: Unsought) -> int:
    declared: int = file.frames
    if has_unknown_length(file):
        return _counted(path, file)
    if file.format == "FLAC" and declared > 0:
        try:
            file.seek(declared - 1)
        except soundfile.LibsndfileError as error:
            raise _cut_off(path, declared / file.samplerate) from error
    elif file.format != "WAV" and declared / file.samplerate * _LEAST_BYTES_PER_S > path.stat().st_size:
        counted = _counted(path, file)
        if counted < COMPLETE_SHARE * declared:
            raise _cut_off(path, declared / file.samplerate, counted / file.samplerate)
        return counted
    return declared


def _counted(path: Path, file: Unsought) -> int:
    count = 0
    for samples in blocks(file):
        count += len(samples)
        _check_duration(path, count, file.samplerate)
    return count


def _check_duration(path: Path, num_frames: int, sample_rate_hz: int) -> None:
    if num_frames > LONGEST_H * 3600 * sample_rate_hz:
        raise UserError(
            f"Expected at most {LONGEST_H:g} hours of audio. Found more in {path}, or a damaged header. Cut it into "
            "utterances, or take it out of the data."
        )


def _cut_off(path: Path, declared_s: float, found_s: float | None = None) -> UserError:
    found = "less" if found_s is None else f"{found_s:.2f} s"
    return UserError(
        f"Expected {declared_s:.2f} s of audio in {path}, as its header says. Found {found}: it is cut off, or its "
        "header is damaged. Copy it again, or take it out of the data."
    )


def check_complete(path: Path, expected: int, found: int, sample_rate_hz: int) -> None:
    """Refuse a file if less could be decoded than its header declares.

    Raises:
        UserError: it is truncated.
    """
    if found < COMPLETE_SHARE * expected:
        raise _cut_off(path, expected / sample_rate_hz, found / sample_rate_hz)
