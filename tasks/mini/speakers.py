"""Synthetic speakers: an accent, a voice, the length of a vocal tract, pitch, intonation and speaking rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from numpy.random import RandomState

from tasks.mini.randomness import random_state

Split = Literal["train", "dev", "test"]

# Accents that espeak-ng 1.52 has (it finds no voice for `en-gb`) and that sound different (`en-us-nyc` is nearly
# `en-us`).
ACCENTS = (
    "gmw/en",
    "en-us",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
)
# Natural-sounding variants: no whisper, echo or robot, and only one of variants that sound alike.
FEMALE_VARIANTS = (
    "Alicia",
    "Andrea",
    "Annie",
    "anika",
    "aunty",
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "grandma",
    "linda",
    "shelby",
    "steph",
    "steph3",
    "zac",
)
MALE_VARIANTS = (
    "Alex",
    "AnxiousAndy",
    "Denis",
    "Gene",
    "Gene2",
    "Jacky",
    "Lee",
    "Marco",
    "Mario",
    "Michael",
    "Mike",
    "Nguyen",
    "Reed",
    "Storm",
    "Tweaky",
    "adam",
    "antonio",
    "benjamin",
    "boris",
    "david",
    "ed",
    "edward",
    "grandpa",
    "gustave",
    "ian",
    "iven2",
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "m8",
    "marcelo",
    "max",
    "michel",
    "mike2",
    "pablo",
    "paul",
    "pedro",
    "quincy",
    "rob",
    "robert",
    "sandro",
    "victor",
)
# Shares of the voices. A voice belongs to one split, the same in every corpus.
SHARES: dict[Split, float] = {"train": 0.7, "dev": 0.1, "test": 0.2}


@dataclass(frozen=True)
class Voice:
    """An espeak-ng voice: an accent of English and a voice variant."""

    accent: str
    variant: str

    @property
    def name(self) -> str:
        """espeak-ng's name of the voice, e.g. ``en-us+f1``."""
        return f"{self.accent}+{self.variant}"

    @property
    def sex(self) -> Literal["F", "M"]:
        """The sex, as in LibriSpeech's speaker table."""
        return "F" if self.variant in FEMALE_VARIANTS else "M"


@dataclass(frozen=True)
class Speaker:
    """One synthetic speaker."""

    name: str
    voice: Voice
    formant_scale: float
    """Multiplies the formants. Above 1 means a shorter vocal tract."""
    pitch: int
    """espeak-ng's pitch, 0 to 99; 50 is the voice's own."""
    pitch_range: int
    """espeak-ng's intonation range, 0 (monotone) to 99; 50 is the voice's own."""
    rate_wpm: float
    """Speaking rate in words per minute."""


@cache
def voices_of(split: Split, seed: int) -> tuple[Voice, ...]:
    """List the voices of a split, in random order. They are the same in all corpora and in no other split."""
    voices = [Voice(accent, variant) for accent in ACCENTS for variant in (*FEMALE_VARIANTS, *MALE_VARIANTS)]
    order = random_state(seed, "voices").permutation(len(voices))
    num_train = round(SHARES["train"] * len(voices))
    num_dev = round(SHARES["dev"] * len(voices))
    bounds = {
        "train": slice(0, num_train),
        "dev": slice(num_train, num_train + num_dev),
        "test": slice(num_train + num_dev, None),
    }
    return tuple(voices[index] for index in order[bounds[split]])


def draw_speakers(names: Sequence[str], *, split: Split, corpus: str, seed: int) -> list[Speaker]:
    """Draw one speaker per name, with different voices of the split.

    Raises:
        ValueError: there are more names than voices in the split.
    """
    voices = voices_of(split, seed)
    if len(names) > len(voices):
        raise ValueError(f"Expected at most {len(voices)} {split} speakers. Found {len(names)}.")
    random = random_state(seed, corpus, split, "speakers")
    chosen = random.permutation(len(voices))[: len(names)]
    return [draw_speaker(name, voices[index], random) for name, index in zip(names, chosen, strict=True)]


def draw_speaker(name: str, voice: Voice, random: RandomState) -> Speaker:
    """Draw the traits that distinguish a speaker from others with the same voice."""
    return Speaker(
        name=name,
        voice=voice,
        formant_scale=round(random.uniform(0.88, 1.14), 3),
        pitch=int(random.randint(30, 71)),
        pitch_range=int(random.randint(30, 81)),
        rate_wpm=round(random.uniform(130, 190), 1),
    )
