"""Recording conditions: how noisy, in what room, how loud."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import RandomState


@dataclass(frozen=True)
class Conditions:
    """The range of recording conditions of a corpus."""

    snr_db: tuple[float, float]
    reverberant_share: float
    """Share of the utterances spoken in a room; the others are dry."""


@dataclass(frozen=True)
class Scene:
    """The recording conditions of one utterance."""

    snr_db: float
    """Speech to noise, both measured while speech lasts."""
    reverberation_s: float
    """Time for the room's sound to fall by 60 dB; 0 is no room."""
    noise_slope: float
    """The noise's power falls with frequency to this power: 0 white, 1 pink, 2 brown."""
    level_dbfs: float
    """Root mean square of the whole recording; lower where its peaks would clip."""


def draw_scene(random: RandomState, conditions: Conditions) -> Scene:
    """Draw the conditions of one utterance."""
    snr_db = random.uniform(*conditions.snr_db)
    reverberant = random.uniform() < conditions.reverberant_share
    reverberation_s = random.uniform(0.15, 0.6)
    return Scene(
        snr_db=round(snr_db, 2),
        reverberation_s=round(reverberation_s, 3) if reverberant else 0.0,
        noise_slope=round(random.uniform(0.0, 2.0), 2),
        level_dbfs=round(random.uniform(-32.0, -20.0), 2),
    )
