"""How a speaker says one utterance, relative to the speaker's own voice."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import RandomState


@dataclass(frozen=True)
class Delivery:
    """The delivery of one utterance."""

    rate: float
    """Multiplies the speaker's speaking rate."""
    pitch: int
    """Added to the speaker's pitch, in espeak-ng's unit."""
    pitch_range: int
    """Added to the speaker's intonation range, in espeak-ng's unit."""
    pause_ms: int = 0
    """Silence between words, in addition to the synthesiser's own."""
    effort_db: float = 0.0
    """Vocal effort, added to the spectrum per octave above 500 Hz: positive for shouting, negative for murmuring."""
    roughness: float = 0.0
    """Depth, 0 to 1, of the irregular beating of a harsh voice."""
    tremor: float = 0.0
    """Depth, 0 to 1, of the slow changes in a trembling voice's loudness."""
    breathiness: float = 0.0
    """Amplitude of breath noise, relative to the voice."""
    swell_db: float = 0.0
    """Level of the end relative to the beginning."""


def draw_delivery(random: RandomState) -> Delivery:
    """Draw the delivery of an utterance without a particular emotion."""
    return Delivery(
        rate=round(random.uniform(0.9, 1.1), 3),
        pitch=int(random.randint(-6, 7)),
        pitch_range=int(random.randint(-10, 11)),
    )
