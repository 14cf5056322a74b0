"""Audio files with damaged bytes: samples as many as the header says, or one short error that names the file."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import strategies as st

from bench.audio.files import read_header, read_waveform
from bench.errors import UserError
from tests.fuzz.harness import PROFILES, fuzz

KINDS = {
    "wav": ("WAV", "PCM_16"),
    "wav24": ("WAV", "PCM_24"),
    "wavfloat": ("WAV", "FLOAT"),
    "wavadpcm": ("WAV", "IMA_ADPCM"),
    "wavex": ("WAVEX", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
HEADER_BYTES = 120
SIZES = [0, 1, 2, 0x7F, 0x80, 0xFF]


@cache
def sound(kind: str) -> bytes:
    """One second in two channels, encoded."""
    file = io.BytesIO()
    samples = 0.1 * np.random.default_rng(0).standard_normal((16_000, 2))
    container, codec = KINDS[kind]
    soundfile.write(file, samples, 16_000, format=container, subtype=codec)
    return file.getvalue()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Overwrite bytes, mostly of the header, and cut or lengthen the file."""
    content = bytearray(sound(draw(st.sampled_from(sorted(KINDS)))))
    for _ in range(draw(st.integers(0, 6))):
        end = draw(st.sampled_from([HEADER_BYTES, HEADER_BYTES, HEADER_BYTES, len(content) - 4]))
        position = draw(st.integers(0, end))
        run = draw(st.integers(1, 4))
        values = st.one_of(st.sampled_from(SIZES), st.integers(0, 255))
        content[position : position + run] = bytes(draw(st.lists(values, min_size=run, max_size=run)))
    if draw(st.integers(0, 4)) == 0:
        del content[draw(st.integers(0, len(content))) :]
    if draw(st.integers(0, 4)) == 0:
        content += draw(st.binary(max_size=64))
    return bytes(content)


@pytest.mark.parametrize("profile", PROFILES)
def test_damaged_audio(tmp_path: Path, profile: str) -> None:
    path = tmp_path / "a.wav"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        try:
            compare(path)
        except UserError as error:
            assert str(path) in str(error)
            raise

    fuzz(read, damaged(), profile, examples=[sound(kind) for kind in KINDS], max_examples=300)


def compare(path: Path) -> None:
    """Read a file, and compare the samples with its header."""
    file = read_header(path, resample=True)
    waveform = read_waveform(file)
    assert np.isfinite(waveform).all()
    assert waveform.dtype == np.float32
    assert 0.95 * file.num_samples <= len(waveform) <= file.num_samples
    crop = read_waveform(file, start=file.num_samples // 2, num_samples=10)
    assert len(crop) <= 10
