"""Texts of the unlabelled audio: sentences with a large vocabulary, and lines of invented words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from numpy.random import RandomState

from bench.files.yaml import read_yaml

TEMPLATES = (
    "{name} {did} the {adjective} {noun} {place}",
    "{name} and {name} {did} {number} {nouns} {time}",
    "{time} {name} will {do} the {noun} {manner}",
    "the {adjective} {noun} {place} belongs to {name}",
    "do you remember who {did} the {nouns} {place}",
    "{number} {adjective} {nouns} were lost {time}",
    "nobody wants to {do} any {noun} {place}",
    "when the {noun} broke we had to {do} another {noun}",
    "she {manner} {did} every {noun} that {name} had",
    "please {do} the {nouns} and then {do} the {adjective} {noun}",
    "if it rains {time} we can {do} the {noun} {place}",
    "there is one {noun} {place} and one {adjective} {noun} {place}",
    "{name} asked whether the {noun} was {adjective} or {adjective}",
    "{manner} he {did} the {noun}",
    "my {relative} never {did} {nouns} {time}",
    "how many {nouns} did your {relative} {do} {time}",
    "yes i would rather {do} the {noun} than the {noun}",
    "no thank you the {nouns} are too {adjective}",
    "turn {direction} {place} and go {direction} until you see the {noun}",
    "they stopped {place} because the {noun} was {adjective}",
)
SHARE_CLOSED_SYLLABLES = 0.6
SHARE_INVENTED = 0.25
"""Lines of invented words combine sounds in ways that the vocabulary does not."""


@cache
def vocabulary() -> dict[str, tuple[str, ...]]:
    """Read the words for each place of a sentence, and the sounds of invented words."""
    content = read_yaml(Path(__file__).with_name("vocabulary.yaml"))
    return {place: tuple(word.strip() for word in words.split(",")) for place, words in content.items()}


def sentence(random: RandomState) -> str:
    """Draw one line."""
    if random.uniform() < SHARE_INVENTED:
        return " ".join(_invented_word(random) for _ in range(random.randint(3, 8)))
    said = _one_of(TEMPLATES, random)
    while "{" in said:
        place = said[said.index("{") + 1 : said.index("}")]
        said = said.replace(f"{{{place}}}", _one_of(vocabulary()[place], random), 1)
    return said


def _invented_word(random: RandomState) -> str:
    """Make up an English-like word of one to three syllables."""
    sounds = vocabulary()
    word = ""
    for _ in range(random.randint(1, 4)):
        word += _one_of(sounds["onset"], random) + _one_of(sounds["nucleus"], random)
        if random.uniform() < SHARE_CLOSED_SYLLABLES:
            word += _one_of(sounds["coda"], random)
    return word


def _one_of(choices: Sequence[str], random: RandomState) -> str:
    return choices[random.randint(len(choices))]
