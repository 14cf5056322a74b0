"""A delivery's voice quality is heard in the speech, as strongly as it says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import RandomState
from scipy.signal import hilbert

from tasks.mini.acoustics import rms
from tasks.mini.delivery import Delivery, draw_delivery
from tasks.mini.voice_quality import ROUGHNESS_HZ, TREMOR_HZ, expressed

RATE = 16_000
TIME_S = np.arange(2 * RATE) / RATE


def tone(frequency_hz: float) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * TIME_S)


def said(speech: np.ndarray, **quality: float) -> np.ndarray:
    return expressed(speech, Delivery(rate=1.0, pitch=0, pitch_range=0, **quality), RandomState(0))


def test_without_emotion_nothing_changes() -> None:
    speech = tone(300)
    assert np.array_equal(expressed(speech, draw_delivery(RandomState(0)), RandomState(0)), speech)


def test_effort_tilts_the_spectrum_above_500_hz() -> None:
    def gain_db(frequency_hz: float) -> float:
        return 20 * np.log10(rms(said(tone(frequency_hz), effort_db=2.0)) / rms(tone(frequency_hz)))

    assert gain_db(200) == pytest.approx(0.0, abs=0.1)
    assert gain_db(1000) == pytest.approx(2.0, abs=0.1)
    assert gain_db(4000) == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize(("quality", "rates_hz"), [("roughness", ROUGHNESS_HZ), ("tremor", TREMOR_HZ)])
def test_the_voice_beats_at_its_rate_and_depth(quality: str, rates_hz: tuple[float, float]) -> None:
    amplitude = np.abs(hilbert(said(tone(1000), **{quality: 0.6})))[800:-800]
    assert amplitude.min() == pytest.approx(0.4, abs=0.03)
    assert amplitude.max() == pytest.approx(1.0, abs=0.03)
    spectrum = np.abs(np.fft.rfft(amplitude - amplitude.mean()))
    frequencies_hz = np.fft.rfftfreq(len(amplitude), 1 / RATE)
    centroid_hz = np.sum(frequencies_hz * spectrum**2) / np.sum(spectrum**2)
    assert rates_hz[0] - 1 < centroid_hz < rates_hz[1] + 1


def test_breath_follows_the_voice() -> None:
    speech = tone(300) * (TIME_S < 1)
    breath = said(speech, breathiness=0.5) - speech
    assert rms(breath[3200:16_000]) / rms(speech[3200:16_000]) == pytest.approx(0.5, rel=0.1)
    assert rms(breath[-8000:]) < 1e-4


def test_loudness_swells() -> None:
    louder = said(tone(300), swell_db=6.0)
    assert 20 * np.log10(rms(louder[-1600:]) / rms(louder[:1600])) == pytest.approx(6.0, abs=0.4)
