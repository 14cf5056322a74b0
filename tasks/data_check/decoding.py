"""``--full``: every file is decoded."""

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
"""Of the samples; more are told."""


@dataclass(frozen=True)
class Decoded:
    """What decoding a file has shown."""

    path: Path
    error: str = ""
    """Why it cannot be used."""
    is_silent: bool = False
    """All samples are zero."""
    clipped_share: float = 0.0
    """Of the samples, those at full scale."""


def decode_all(resample_of: Mapping[Path, bool]) -> Iterator[Decoded]:
    """Decode files, in the order given, as many at once as there are processors.

    Args:
        resample_of: the files, and whether each may have another rate than 16 kHz.
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
    """Tell of files that decode and hold little to learn from."""
    files = list(decoded)
    if silent := [file for file in files if file.is_silent]:
        yield f"{len(silent):,} of {len(files):,} files hold nothing but zeros, such as {silent[0].path}."
    if clipped := [file for file in files if file.clipped_share > CLIPPED_SHARE]:
        worst = max(clipped, key=lambda file: file.clipped_share)
        yield (
            f"{len(clipped):,} of {len(files):,} files are clipped: more than {CLIPPED_SHARE:.1%} of their samples are "
            f"at full scale, up to {worst.clipped_share:.1%} in {worst.path}."
        )
