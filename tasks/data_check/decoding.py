"""``--full``: decodes every file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.audio.files import read_header, read_waveform
from bench.errors import UserError

FULL_SCALE = 32767 / 32768
CLIPPED_SHARE = 0.001
"""A larger share of clipped samples is reported."""


@dataclass(frozen=True)
class Decoded:
    """The result of decoding a file."""

    path: Path
    error: str = ""
    """Why the file cannot be used; empty if it can."""
    is_silent: bool = False
    """All samples are zero."""
    clipped_share: float = 0.0
    """Share of the samples at full scale."""


def decode_all(resample_of: Mapping[Path, bool]) -> Iterator[Decoded]:
    """Decode files in order, one thread per processor.

    Args:
        resample_of: maps each file to whether it may have another rate than 16 kHz.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(decode, resample_of, resample_of.values())


def decode(path: Path, resample: bool) -> Decoded:
    """Decode one file."""
    try:
        waveform = read_waveform(read_header(path, resample=resample))
    except UserError as error:
        return Decoded(path, error=str(error))
    magnitudes = np.abs(waveform)
    return Decoded(
        path, is_silent=not magnitudes.any(), clipped_share=float(np.mean(magnitudes >= FULL_SCALE, dtype=np.float64))
    )


def decoding_remarks(decoded: Iterable[Decoded]) -> Iterator[str]:
    """Report silent and clipped files."""
    files = list(decoded)
    if silent := [file for file in files if file.is_silent]:
        yield f"{len(silent):,} of {len(files):,} files contain only zeros, such as {silent[0].path}."
    if clipped := [file for file in files if file.clipped_share > CLIPPED_SHARE]:
        worst = max(clipped, key=lambda file: file.clipped_share)
        yield (
            f"{len(clipped):,} of {len(files):,} files are clipped: more than {CLIPPED_SHARE:.1%} of their samples are "
            f"at full scale, up to {worst.clipped_share:.1%} in {worst.path}."
        )
