"""SoX's effect ``silence``: what SoX 14.4.2 itself keeps of the same signals, and what its manual says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.bridge.s3prl_compat import apply_effects_tensor
from tasks.bridge.silence import without_silence

RATE_HZ = 16_000
KEPT_BY_SOX = [
    (33_887, 29_058),
    (12_050, 0),
    (15_820, 3_298),
    (13_601, 5_615),
    (22_930, 14_272),
    (10_255, 4_492),
    (38_524, 28_489),
    (28_747, 11_467),
    (8_853, 0),
    (14_455, 5_463),
    (28_537, 14_026),
    (10_936, 4_142),
    (20_520, 14_987),
    (45_778, 21_677),
    (31_844, 24_171),
    (30_382, 18_565),
    (29_553, 23_680),
    (29_641, 16_960),
    (12_078, 3_357),
    (26_921, 9_403),
    (5_879, 5_879),
    (21_903, 13_487),
    (21_521, 9_343),
    (10_073, 6_064),
]
"""Lengths before and after ``sox -D a.wav b.wav silence 1 0.1 0.1% -1 0.1 0.1%``, for the signals of `signals`."""


def signals(number: int) -> list[np.ndarray]:
    """Pieces of noise at four levels, from none to loud."""
    random = np.random.default_rng(0)
    made = []
    for _ in range(number):
        pieces = []
        for _ in range(random.integers(1, 12)):
            length, kind = int(random.integers(50, 6_000)), random.integers(4)
            pieces.append([0, 0.0002, 0.002, 0.1][kind] * random.standard_normal(length))
        made.append(np.clip(np.concatenate(pieces), -1, 1).astype(np.float32))
    return made


def kept(waveform: np.ndarray) -> np.ndarray:
    return without_silence(waveform.astype(np.float32), RATE_HZ, 0.1, 0.001)


def test_keeps_as_much_as_sox() -> None:
    found = [(len(signal), len(kept(signal))) for signal in signals(len(KEPT_BY_SOX))]
    assert found == KEPT_BY_SOX


def tone(duration_s: float) -> np.ndarray:
    return np.full(round(duration_s * RATE_HZ), 0.5, np.float32)


def silence(duration_s: float) -> np.ndarray:
    return np.zeros(round(duration_s * RATE_HZ), np.float32)


def test_silence_at_the_start_goes() -> None:
    assert np.array_equal(kept(np.concatenate([silence(1.0), tone(0.5)])), tone(0.5))


def test_short_pauses_stay() -> None:
    whole = np.concatenate([tone(0.3), silence(0.1), tone(0.3)])
    assert np.array_equal(kept(whole), whole)


def test_long_pauses_go_but_for_the_window_that_still_holds_sound() -> None:
    found = kept(np.concatenate([tone(0.3), silence(1.0), tone(0.3)]))
    assert len(found) == pytest.approx(0.6 * RATE_HZ, abs=RATE_HZ // 50)


def test_sounds_that_are_too_short_go() -> None:
    assert len(kept(np.concatenate([silence(0.2), tone(0.05), silence(0.5)]))) == 0


@pytest.mark.parametrize("length", [0, 1, 100])
def test_very_short_signals(length: int) -> None:
    assert len(kept(np.zeros(length))) == 0


def test_it_is_an_effect_of_the_recipes() -> None:
    waveform = torch.from_numpy(np.concatenate([silence(1.0), tone(0.5)]))[None]
    effects = [["gain", "-3.0"], ["silence", "1", "0.1", "0.1%", "-1", "0.1", "0.1%"]]
    found, rate_hz = apply_effects_tensor(waveform, RATE_HZ, effects)
    assert (rate_hz, tuple(found.shape)) == (RATE_HZ, (1, 8_000))
    with pytest.raises(NotImplementedError):
        apply_effects_tensor(waveform, RATE_HZ, [["silence", "1", "0.1", "0.1%", "-1", "0.2", "0.1%"]])
