"""Recordings have the conditions that their scene names."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import RandomState
from scipy.signal import welch

from tasks.mini.acoustics import audible_part, coloured_noise, recorded, reverberated, rms, speech_from_pcm
from tasks.mini.scenes import Conditions, Scene, draw_scene

RATE = 16_000


def tone(frequency_hz: float, duration_s: float, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(int(duration_s * rate)) / rate)


def peak_frequency_hz(waveform: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(waveform))) * RATE / len(waveform))


@pytest.mark.parametrize("snr_db", [-3.0, 0.0, 15.0])
def test_signal_to_noise_ratio_is_the_scenes(snr_db: float) -> None:
    speech = tone(1000, 0.5)
    scene = Scene(snr_db=snr_db, reverberation_s=0.0, noise_slope=0.0, level_dbfs=-25.0)
    recording = recorded(speech, scene, RandomState(0), start=4000, num_samples=RATE) / 32_768
    noise_power = np.mean(np.square(recording[:4000]))
    power = np.mean(np.square(recording[4000:12_000]))
    assert 10 * np.log10(power / noise_power - 1) == pytest.approx(snr_db, abs=0.8)


def test_level_is_the_scenes_and_nothing_clips() -> None:
    scene = Scene(snr_db=20.0, reverberation_s=0.3, noise_slope=1.0, level_dbfs=-25.0)
    recording = recorded(tone(300, 0.5), scene, RandomState(0), start=0, num_samples=RATE)
    assert recording.dtype == np.int16
    assert 20 * np.log10(rms(recording / 32_768)) == pytest.approx(-25.0, abs=0.01)
    click = np.zeros(8000)
    click[100] = 1.0
    assert np.abs(recorded(click, scene, RandomState(0), start=0, num_samples=RATE)).max() < 32_000


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_has_its_colour_and_unit_power(slope: float) -> None:
    noise = coloured_noise(RandomState(1), 20 * RATE, slope)
    assert rms(noise) == pytest.approx(1.0)
    frequencies_hz, power = welch(noise, RATE, nperseg=2048)
    band = (frequencies_hz > 100) & (frequencies_hz < 7000)
    measured, _ = np.polyfit(np.log(frequencies_hz[band]), np.log(power[band]), 1)
    assert -measured == pytest.approx(slope, abs=0.05)


@pytest.mark.parametrize("formant_scale", [0.88, 1.0, 1.14])
def test_warping_scales_frequencies_up_and_duration_down(formant_scale: float) -> None:
    pcm = (tone(500, 1.0, rate=22_050) * 20_000).astype(np.int16)
    speech = speech_from_pcm(pcm, 22_050, formant_scale)
    assert peak_frequency_hz(speech) == pytest.approx(500 * formant_scale, rel=0.01)
    assert len(speech) / RATE == pytest.approx(1 / formant_scale, abs=0.02)


def test_silence_around_speech_is_cut() -> None:
    padded = np.concatenate([np.zeros(3200), tone(400, 0.3), np.zeros(1600)])
    audible = audible_part(padded)
    assert (audible.start, audible.stop) == (pytest.approx(3200, abs=160), pytest.approx(8000, abs=160))


def test_reverberation_keeps_the_direct_sound_and_decays_as_named() -> None:
    click = np.zeros(100)
    click[0] = 1.0
    wet = reverberated(click, RandomState(0), 0.2)
    assert wet[0] == pytest.approx(1.0)
    early, late = wet[300:900], wet[300 + 1600 : 900 + 1600]
    assert 20 * np.log10(rms(early) / rms(late)) == pytest.approx(30.0, abs=1.5)


def test_scenes_fill_their_ranges() -> None:
    scenes = [draw_scene(RandomState(seed), Conditions((-3.0, 15.0), 0.6)) for seed in range(500)]
    snrs = [scene.snr_db for scene in scenes]
    assert -3.0 <= min(snrs) < -2.0
    assert 14.0 < max(snrs) <= 15.0
    assert np.mean([scene.reverberation_s > 0 for scene in scenes]) == pytest.approx(0.6, abs=0.06)
