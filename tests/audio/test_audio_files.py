"""Audio files as people have them: cut off, written to pipes, of odd rates, or no audio at all."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from bench.audio.files import AudioFile, read_header, read_waveform
from bench.cli import main
from bench.errors import UserError

SPEECH: NDArray[np.float32] = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_file(name: str, samples: NDArray[np.float32] = SPEECH, rate_hz: int = 16_000, **kwargs: str) -> Path:
        soundfile.write(tmp_path / name, samples, rate_hz, **kwargs)
        return tmp_path / name

    return write_file


def overwrite(path: Path, changes: dict[int, bytes]) -> None:
    content = bytearray(path.read_bytes())
    for position, values in changes.items():
        content[position : position + len(values)] = values
    path.write_bytes(content)


def refused(path: Path, *, resample: bool = True) -> str:
    with pytest.raises(UserError) as error:
        read_waveform(read_header(path, resample=resample))
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("riff_size", "data_size"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),  # ffmpeg and flac
        (0, 0),  # older ffmpeg
        (0x7FFFF024, 0x7FFFF000),  # SoX
        (0x80000024, 0x80000000),  # arecord
        (0xFFFFFFFF, 0),
        (36, 0),  # never closed
    ],
)
def test_wav_from_a_pipe_is_read_to_its_end(write: Callable[..., Path], riff_size: int, data_size: int) -> None:
    path = write("a.wav")
    whole = read_waveform(read_header(path))
    overwrite(path, {4: struct.pack("<I", riff_size), 40: struct.pack("<I", data_size)})
    file = read_header(path)
    assert file.num_samples == 16_000
    np.testing.assert_array_equal(read_waveform(file), whole)
    np.testing.assert_array_equal(read_waveform(file, start=15_000, num_samples=500), whole[15_000:15_500])


def of_total(path: Path, num_samples: int) -> None:
    """Let a FLAC file's header claim another number of samples."""
    high = path.read_bytes()[21] & 0xF0 | num_samples >> 32
    overwrite(path, {21: bytes([high]), 22: struct.pack(">I", num_samples & 0xFFFFFFFF)})


@pytest.mark.parametrize("seconds", [1, 30])
def test_flac_from_a_pipe_is_read_to_its_end(write: Callable[..., Path], seconds: int) -> None:
    path = write("a.flac", np.tile(SPEECH, seconds))
    whole = read_waveform(read_header(path))
    of_total(path, 0)
    file = read_header(path)
    assert file.num_samples == 16_000 * seconds
    np.testing.assert_array_equal(read_waveform(file), whole)
    np.testing.assert_array_equal(read_waveform(file, start=12_345, num_samples=777), whole[12_345 : 12_345 + 777])


@pytest.mark.parametrize("claimed", [16_001, 20_000, 2**32 - 1, 2**36 - 1])
def test_flac_that_claims_too_much_is_refused(write: Callable[..., Path], claimed: int) -> None:
    path = write("a.flac")
    of_total(path, claimed)
    assert "cut off" in refused(path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.opus"])
def test_header_tells_that_a_file_is_cut_off(write: Callable[..., Path], name: str) -> None:
    options = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    path = write(name, np.tile(SPEECH, 10), **options)
    assert len(read_waveform(read_header(path))) == 160_000
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=f"{path}.*cut off"):
        read_header(path)


@pytest.mark.parametrize("num_channels", [0, 1_000])
def test_absurd_numbers_of_channels_are_refused(write: Callable[..., Path], num_channels: int) -> None:
    path = write("a.wav", np.tile(SPEECH, 10))
    overwrite(path, {22: struct.pack("<H", num_channels), 32: struct.pack("<H", 2 * num_channels)})
    refused(path)


def test_channels_are_averaged(write: Callable[..., Path]) -> None:
    file = read_header(write("a.flac", np.stack([SPEECH, -SPEECH, SPEECH], axis=1)))
    np.testing.assert_allclose(read_waveform(file), SPEECH / 3, atol=1e-4)


@pytest.mark.parametrize("rate_hz", [3_999, 384_001, 2_147_483_647])
@pytest.mark.parametrize("resample", [False, True])
def test_rates_that_no_recorder_has_are_refused(write: Callable[..., Path], rate_hz: int, resample: bool) -> None:
    path = write("a.wav")
    overwrite(path, {24: struct.pack("<I", rate_hz)})
    assert f"{rate_hz} Hz" in refused(path, resample=resample)


@pytest.mark.parametrize("rate_hz", [4_000, 8_000, 11_025, 15_999, 16_001, 22_051, 44_100, 48_000, 383_999, 384_000])
def test_a_tone_stays_the_tone_at_any_rate(write: Callable[..., Path], rate_hz: int) -> None:
    num_samples = rate_hz // 2 + 1
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(num_samples) / rate_hz)
    file = read_header(write("a.wav", tone, rate_hz, subtype="FLOAT"), resample=True)
    waveform = read_waveform(file)
    assert len(waveform) == file.num_samples == -(-num_samples * 16_000 // rate_hz)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(waveform)) / 16_000)
    # The filter rings where the tone begins and ends.
    np.testing.assert_allclose(waveform[1_000:-1_000], expected[1_000:-1_000], atol=2e-3)
    np.testing.assert_array_equal(read_waveform(file, start=100, num_samples=50), waveform[100:150])


def test_resampling_is_that_of_s3prl(write: Callable[..., Path]) -> None:
    librosa = pytest.importorskip("librosa")
    path = write("a.wav", SPEECH, 22_050)
    theirs, _ = librosa.load(path, sr=16_000)
    np.testing.assert_array_equal(read_waveform(read_header(path, resample=True)), theirs)


def test_what_is_no_regular_file_is_refused_and_hangs_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    (tmp_path / "gone.wav").symlink_to("elsewhere.wav")
    monkeypatch.chdir(tmp_path)  # Addresses of sockets are short.
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.wav")
        for name in ("pipe", "folder", "device", "gone", "socket", "missing"):
            refused(tmp_path / f"{name}.wav")


@pytest.mark.parametrize("content", [b"", b"RIFF", b"fLaC", b"OggS", b"\xff\xfb\x90\x00", b"not audio at all " * 100])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".raw", ""])
def test_what_is_no_audio_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    refused(path)


def test_wav_without_samples_is_refused(write: Callable[..., Path]) -> None:
    assert "empty" in refused(write("a.wav", SPEECH[:0]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate_hz", [16_000, 22_050])
def test_samples_that_are_not_finite_are_refused(write: Callable[..., Path], value: float, rate_hz: int) -> None:
    samples = SPEECH.copy()
    samples[5_000] = value
    refused(write("a.wav", samples, rate_hz, subtype="FLOAT"))


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.wav"))
    soundfile.write(tmp_path / "plain.wav", SPEECH, 16_000)
    (tmp_path / "plain.wav").rename(path)
    with pytest.raises(UserError, match=r"caf\\xe9\.wav"):
        read_header(path)


@pytest.mark.parametrize("name", ["a\nb.wav", "a,b.wav", 'a"b.wav', "a\tb.wav", " a .wav", "é ☃.wav"])
def test_any_other_name_is_read(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / "plain.wav", SPEECH, 16_000)
    (tmp_path / "plain.wav").rename(tmp_path / name)
    assert read_header(tmp_path / name) == AudioFile(tmp_path / name, 16_000, 16_000)


def bench(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_features_of_a_file_without_a_length(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.flac")
    of_total(path, 0)
    assert bench(monkeypatch, "features", "fbank", path, "--out", tmp_path / "f.npz") == 0
    with np.load(tmp_path / "f.npz") as arrays:
        assert arrays["a/0"].shape[0] == 98


def test_features_refuses_in_one_line(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("a.flac")
    of_total(path, 2**36 - 1)
    assert bench(monkeypatch, "features", "fbank", path, "--out", path.with_name("f.npz")) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert str(path) in error
