"""The acoustics of a recording: vocal tract, room, noise, recording chain, level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.signal import fftconvolve, resample_poly

from bench.audio.files import SAMPLE_RATE_HZ
from tasks.mini.scenes import RESPONSE_HZ, Scene

Waveform = NDArray[np.float64]

SILENCE_DB = -40.0
"""Level of silence around an utterance, relative to its loudest 10 ms."""
LARGEST_PEAK = 0.95
_RATE_STEP_HZ = 50
_EQUALISER_TAIL = 1024
"""Samples of silence that keep the end of a waveform from ringing into its beginning."""
ROOM_TAIL_S = 0.15
"""Reverberation kept after the last word."""


def played_rate_hz(sample_rate_hz: int, formant_scale: float) -> int:
    """Return the playback rate that multiplies formants by ``formant_scale``, rounded to 50 Hz."""
    return round(sample_rate_hz * formant_scale / _RATE_STEP_HZ) * _RATE_STEP_HZ


def speech_from_pcm(samples: NDArray[np.int16], sample_rate_hz: int, formant_scale: float) -> Waveform:
    """Resample synthesised speech to 16 kHz, and scale its frequencies.

    Resampling to ``16 kHz / formant_scale`` and playing at 16 kHz multiplies formants and pitch by
    ``formant_scale`` and divides the duration by it. Request slower speech to compensate.
    """
    rate_hz = played_rate_hz(sample_rate_hz, formant_scale)
    resampled: Waveform = resample_poly(samples / 32_768, SAMPLE_RATE_HZ // _RATE_STEP_HZ, rate_hz // _RATE_STEP_HZ)
    return resampled


def audible_part(speech: Waveform) -> slice:
    """Find the speech between the silence before and after it, in samples."""
    hop = SAMPLE_RATE_HZ // 100
    padded = np.pad(speech, (0, -len(speech) % hop))
    power = np.square(padded).reshape(-1, hop).mean(axis=1)
    loud = np.flatnonzero(power >= power.max() * 10 ** (SILENCE_DB / 10))
    return slice(int(loud[0]) * hop, min(len(speech), int(loud[-1] + 1) * hop))


def coloured_noise(random: RandomState, num_samples: int, slope: float) -> Waveform:
    """Make noise of unit power whose power spectrum falls as ``1 / f ** slope``, flat below 60 Hz."""
    num_transformed = next_fast_len(num_samples, real=True)
    frequencies_hz = rfftfreq(num_transformed, 1 / SAMPLE_RATE_HZ)
    spectrum = random.standard_normal(2 * len(frequencies_hz)).view(np.complex128)
    spectrum *= np.maximum(frequencies_hz, 60.0) ** (-slope / 2)
    shaped: Waveform = irfft(spectrum, num_transformed, overwrite_x=True)[:num_samples]
    return shaped / rms(shaped)


def fluctuating(noise: Waveform, random: RandomState, fluctuation_hz: float, fluctuation_db: float) -> Waveform:
    """Vary the level of noise by ``fluctuation_db`` (standard deviation), ``fluctuation_hz`` times per second."""
    # A period has two turning points.
    num_points = int(2 * fluctuation_hz * len(noise) / SAMPLE_RATE_HZ) + 3
    turning_points_db = fluctuation_db * random.standard_normal(num_points)
    position = np.arange(len(noise)) * (2 * fluctuation_hz / SAMPLE_RATE_HZ) + random.uniform()
    gains: Waveform = 10 ** (np.interp(position, np.arange(num_points), turning_points_db) / 20)
    return noise * gains


def equalised(waveform: Waveform, frequencies_hz: Sequence[float], gains_db: Sequence[float]) -> Waveform:
    """Apply gains at given frequencies, interpolated over the logarithm of frequency, without delay."""
    num_transformed = next_fast_len(len(waveform) + _EQUALISER_TAIL, real=True)
    bins_hz = np.maximum(rfftfreq(num_transformed, 1 / SAMPLE_RATE_HZ), frequencies_hz[0])
    spectrum = rfft(waveform, num_transformed)
    spectrum *= 10 ** (np.interp(np.log(bins_hz), np.log(frequencies_hz), gains_db) / 20)
    filtered: Waveform = irfft(spectrum, num_transformed, overwrite_x=True)[: len(waveform)]
    return filtered


def reverberated(speech: Waveform, random: RandomState, reverberation_s: float) -> Waveform:
    """Put speech in a room: the direct sound, then noise that decays by 60 dB in ``reverberation_s``.

    The result is `ROOM_TAIL_S` longer than the speech.
    """
    num_samples = int(reverberation_s * SAMPLE_RATE_HZ)
    time_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    tail = random.standard_normal(num_samples) * 10 ** (-3 * time_s / reverberation_s)
    gap = int(random.uniform(0.002, 0.015) * SAMPLE_RATE_HZ)
    tail[:gap] = 0.0
    reverberant_db = random.uniform(-9.0, 0.0)
    response = tail * 10 ** (reverberant_db / 20) / np.linalg.norm(tail)
    response[0] = 1.0
    wet: Waveform = fftconvolve(speech, response)
    return wet[: len(speech) + int(ROOM_TAIL_S * SAMPLE_RATE_HZ)]


def recorded(speech: Waveform, scene: Scene, random: RandomState, *, start: int, num_samples: int) -> NDArray[np.int16]:
    """Record speech in a scene.

    Args:
        speech: dry speech at 16 kHz; empty for pure noise.
        scene: the recording conditions.
        random: source of the noise and the room.
        start: first sample of speech in the recording.
        num_samples: length of the recording; excess speech is cut.

    Returns:
        The recording, int16 at 16 kHz, shape (num_samples,), never clipped.
    """
    noise = coloured_noise(random, num_samples, scene.noise_slope)
    if scene.noise_response_db:
        noise = equalised(noise, RESPONSE_HZ, scene.noise_response_db)
    if scene.fluctuation_db:
        noise = fluctuating(noise, random, scene.fluctuation_hz, scene.fluctuation_db)
    recording = noise
    if len(speech):
        wet = reverberated(speech, random, scene.reverberation_s) if scene.reverberation_s else speech
        wet = wet[: num_samples - start]
        end = start + min(len(speech), len(wet))
        noise_gain = rms(wet[: end - start]) / rms(noise[start:end]) * 10 ** (-scene.snr_db / 20)
        recording = noise * noise_gain
        recording[start : start + len(wet)] += wet
    if scene.response_db:
        recording = equalised(recording, RESPONSE_HZ, scene.response_db)
    recording = recording * (10 ** (scene.level_dbfs / 20) / rms(recording))
    recording *= min(1.0, LARGEST_PEAK / np.abs(recording).max())
    return np.round(recording * 32_767).astype(np.int16)


def rms(waveform: Waveform) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(waveform))))
