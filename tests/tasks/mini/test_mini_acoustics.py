"""Recordings have the conditions that their scene names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import RandomState
from scipy.signal import welch

from tasks.mini.acoustics import (
    audible_part,
    coloured_noise,
    equalised,
    fluctuating,
    recorded,
    reverberated,
    rms,
    speech_from_pcm,
)
from tasks.mini.scenes import RESPONSE_HZ, Conditions, Scene, draw_scene

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


def test_noise_comes_and_goes_as_often_and_as_much_as_its_scene_says() -> None:
    steady = coloured_noise(RandomState(0), 60 * RATE, 0.0)
    noise = fluctuating(steady, RandomState(1), 2.0, 6.0)
    level_db = 10 * np.log10(np.square(noise).reshape(-1, RATE // 20).mean(axis=1))
    # Between its turning points the level is interpolated, which takes a third off its variance.
    assert level_db.std() == pytest.approx(6.0 * np.sqrt(2 / 3), rel=0.15)
    crossings_hz = np.count_nonzero(np.diff(np.sign(level_db - level_db.mean()))) / 60
    assert 1.5 < crossings_hz < 3.0


def test_signal_to_noise_ratio_holds_in_fluctuating_noise() -> None:
    steady = Scene(snr_db=3.0, reverberation_s=0.0, noise_slope=0.0, level_dbfs=-25.0)
    scene = replace(steady, fluctuation_hz=0.5, fluctuation_db=8.0)
    speech = tone(1000, 0.5)
    recording = recorded(speech, scene, RandomState(0), start=4000, num_samples=RATE)[4000:12_000] / 32_768
    spectrum = np.abs(np.fft.rfft(recording)) ** 2
    voice = spectrum[499:502].sum()
    assert 10 * np.log10(voice / (spectrum.sum() - voice)) == pytest.approx(3.0, abs=0.3)


def level_change_db(plain: np.ndarray, changed: np.ndarray) -> tuple[float, float]:
    """Return the change of level between 200 and 1900 Hz, and above 4200 Hz."""
    frequencies_hz, before = welch(plain, RATE, nperseg=1024)
    _, after = welch(changed, RATE, nperseg=1024)
    change_db = 10 * np.log10(after / before)
    low = change_db[(frequencies_hz > 200) & (frequencies_hz < 1900)].mean()
    return float(low), float(change_db[frequencies_hz > 4200].mean())


MUFFLED_DB = tuple(0.0 if frequency_hz < 4000 else -12.0 for frequency_hz in RESPONSE_HZ)


def test_a_microphone_colours_speech_and_noise_alike() -> None:
    flat = Scene(snr_db=10.0, reverberation_s=0.0, noise_slope=0.0, level_dbfs=-25.0)
    speech = tone(1000, 4.0) + tone(5000, 4.0)
    plain, coloured = (
        recorded(speech, one, RandomState(0), start=0, num_samples=4 * RATE)
        for one in (flat, replace(flat, response_db=MUFFLED_DB))
    )
    low, high = level_change_db(plain, coloured)
    assert high - low == pytest.approx(-12.0, abs=0.3)


def test_a_noise_s_response_leaves_speech_and_the_signal_to_noise_ratio() -> None:
    flat = Scene(snr_db=3.0, reverberation_s=0.0, noise_slope=0.0, level_dbfs=-25.0)
    scene = replace(flat, noise_response_db=MUFFLED_DB)
    plain, coloured = (
        recorded(tone(1000, 4.0), one, RandomState(0), start=0, num_samples=4 * RATE) / 32_768 for one in (flat, scene)
    )
    low, high = level_change_db(plain, coloured)
    assert high - low == pytest.approx(-12.0, abs=0.5)
    spectrum = np.abs(np.fft.rfft(coloured)) ** 2
    voice = spectrum[3990:4011].sum()
    assert 10 * np.log10(voice / (spectrum.sum() - voice)) == pytest.approx(3.0, abs=0.3)


def test_equaliser_interpolates_over_octaves() -> None:
    frequency_hz = 2000.0
    louder = equalised(tone(frequency_hz, 0.5), (1000.0, 4000.0), (0.0, 6.0))
    assert 20 * np.log10(rms(louder) / rms(tone(frequency_hz, 0.5))) == pytest.approx(3.0, abs=0.05)


def test_half_of_the_scenes_fluctuate_and_microphones_differ_where_asked() -> None:
    conditions = Conditions((0.0, 20.0), 0.6, response_db=4.0, noise_response_db=8.0)
    scenes = [draw_scene(RandomState(seed), conditions) for seed in range(300)]
    assert np.mean([scene.fluctuation_db > 0 for scene in scenes]) == pytest.approx(0.5, abs=0.08)
    assert {scene.fluctuation_hz > 0 for scene in scenes if scene.fluctuation_db} == {True}
    assert np.std([scene.response_db for scene in scenes]) == pytest.approx(4.0, abs=0.1)
    assert np.std([scene.noise_response_db for scene in scenes]) == pytest.approx(8.0, abs=0.2)
    plain = draw_scene(RandomState(0), Conditions((0.0, 20.0), 0.6))
    assert plain.response_db == plain.noise_response_db == ()
    # Microphones leave everything else as it is.
    assert replace(scenes[0], response_db=(), noise_response_db=()) == plain


def test_a_tilt_is_so_many_decibels_per_octave() -> None:
    tilts = []
    for seed in range(300):
        response_db = draw_scene(RandomState(seed), Conditions((0.0, 20.0), 0.6, tilt_db=2.0)).response_db
        octaves = np.log2(np.array(RESPONSE_HZ) / RESPONSE_HZ[0])
        slope, offset = np.polyfit(octaves, response_db, 1)
        assert np.allclose(slope * octaves + offset, response_db, atol=0.02)
        tilts.append(slope)
    assert np.std(tilts) == pytest.approx(2.0, abs=0.25)
