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
    pause_ms: int = 0
    """Silence between words, beyond what the synthesiser makes anyway."""
    effort_db: float = 0.0
    """Vocal effort: added to the spectrum for every octave above 500 Hz; shouting is over 0, murmuring below."""
    roughness: float = 0.0
    """Depth, 0 to 1, of the irregular beating of a harsh voice."""
    tremor: float = 0.0
    """Depth, 0 to 1, of the slow swaying of a shaken voice's loudness."""
    breathiness: float = 0.0
    """Amplitude of the breath that goes with the voice, relative to it."""
    swell_db: float = 0.0
    """How much louder the end is than the beginning."""


def draw_delivery(random: RandomState) -> Delivery:
    """Draw how an utterance without any particular emotion is said."""
    return Delivery(
        rate=round(random.uniform(0.9, 1.1), 3),
        pitch=int(random.randint(-6, 7)),
        pitch_range=int(random.randint(-10, 11)),
    )
