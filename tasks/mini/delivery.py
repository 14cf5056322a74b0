"""How a speaker says one utterance, relative to their habits."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import RandomState


@dataclass(frozen=True)
class Delivery:
    """How one utterance is said: nobody says a thing twice alike."""

    rate: float
    """Times the speaker's speaking rate."""
    pitch: int
    """Added to the speaker's pitch, in espeak-ng's unit."""
    pitch_range: int
    """Added to the speaker's intonation range, in espeak-ng's unit."""


def draw_delivery(random: RandomState) -> Delivery:
    """Draw how an utterance without any particular emotion is said."""
    return Delivery(
        rate=round(random.uniform(0.9, 1.1), 3),
        pitch=int(random.randint(-6, 7)),
        pitch_range=int(random.randint(-10, 11)),
    )
