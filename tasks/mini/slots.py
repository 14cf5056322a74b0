"""The SF corpus: requests to an assistant with the slots they fill, in the layout of Audio SNIPS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.random import RandomState

from tasks.corpora.embedded_manifest import ManifestRow
from tasks.mini.delivery import draw_delivery
from tasks.mini.randomness import random_state
from tasks.mini.scenes import Conditions, draw_scene
from tasks.mini.speakers import Speaker, Split, draw_speakers
from tasks.mini.utterances import Utterance, scaled

PEOPLE = ("anna moore", "david", "helen stone", "martha", "oliver", "peter lane", "sofia grant", "thomas")
NAMES = (
    "blue garden",
    "golden river",
    "harvest",
    "little star",
    "midnight",
    "old harbor",
    "silver moon",
    "the last train",
)
CITIES = ("boston", "cape may", "dublin", "glasgow", "long beach", "madrid", "new haven", "oslo")
HOURS = ("five", "half past seven", "nine", "seven", "ten", "twelve")
# Many values fit several slots; only the context decides.
SLOTS: dict[str, tuple[str, ...]] = {
    "artist": PEOPLE,
    "contact": PEOPLE,
    "song": NAMES,
    "restaurant": NAMES,
    "city": CITIES,
    "origin": CITIES,
    "destination": CITIES,
    "day": ("next sunday", "on friday", "this evening", "today", "tomorrow", "tomorrow morning"),
    "time": HOURS,
    "party_size": ("five", "nine", "seven", "six", "ten", "two"),
}
TEMPLATES: dict[str, tuple[str, ...]] = {
    "PlayMusic": (
        "play {song} by {artist}",
        "i want to hear {artist} sing {song} at {time}",
        "put on {song} by {artist} for {contact}",
    ),
    "SendMessage": (
        "tell {contact} that i want to hear {song} {day}",
        "ask {contact} to play {song} by {artist}",
        "send {contact} a message {day} at {time}",
    ),
    "GetWeather": (
        "will it rain in {city} {day} at {time}",
        "what is the weather in {city} {day}",
        "tell me if it is cold in {city} at {time}",
    ),
    "BookTrip": (
        "book a train from {origin} to {destination} {day}",
        "i want to go to {destination} from {origin} at {time}",
        "find a trip to {destination} {day} for {party_size}",
    ),
    "BookTable": (
        "book a table at {restaurant} for {party_size} {day}",
        "find a table in {city} for {party_size} at {time}",
        "i want to meet {contact} at {restaurant} {day}",
    ),
}
OUTSIDE = "O"
SPLIT_FOLDERS: dict[Split, str] = {"train": "train", "dev": "valid", "test": "test"}
NUM_SPEAKERS: dict[Split, int] = {"train": 80, "dev": 8, "test": 80}
REQUESTS_PER_SPEAKER: dict[Split, int] = {"train": 14, "dev": 14, "test": 5}
CONDITIONS = Conditions(snr_db=(10.0, 30.0), reverberant_share=0.6)


@dataclass(frozen=True, kw_only=True)
class Request(Utterance):
    """An utterance, labelled with the slot of every word (``O`` for none)."""

    intent: str


class Slots:
    """Requests, labelled with words and slots."""

    name = "sf"

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List every request. No request occurs twice, and no speaker is in two splits."""
        made: list[Utterance] = []
        said: set[str] = set()
        for split, number in NUM_SPEAKERS.items():
            names = [f"{SPLIT_FOLDERS[split].title()}{index:02d}" for index in range(scaled(number, scale))]
            for speaker in draw_speakers(names, split=split, corpus=self.name, seed=seed):
                requests = _new_requests(speaker, REQUESTS_PER_SPEAKER[split], said, seed)
                made += [_utterance(speaker, split, index, *request, seed) for index, request in enumerate(requests)]
        return made

    def write_tables(
        self,
        folder: Path,
        utterances: Sequence[Utterance],
        manifest: Sequence[ManifestRow],  # noqa: ARG002 - the plan says it all
    ) -> None:
        """Write ``all.iob.snips.txt``. Its tags are bare slot names, as in Audio SNIPS."""
        lines = ""
        for request in utterances:
            assert isinstance(request, Request)
            name = Path(request.path).stem
            lines += f"{name} BOS {request.text} EOS\t{OUTSIDE} {request.label} {request.intent}\n"
        (folder / "all.iob.snips.txt").write_text(lines, encoding="utf-8")

    def task_data(self, folder: Path) -> dict[str, Any]:
        """Return the data entry. Each split uses all speakers in its folder."""
        return {
            "layout": "snips",
            "root": folder,
            "train_speakers": (),
            "dev_speakers": (),
            "test_speakers": (),
        }


def _new_requests(speaker: Speaker, number: int, said: set[str], seed: int) -> list[tuple[str, str, str]]:
    """Draw ``number`` intents, new sentences and their tags. Add the sentences to ``said``."""
    random = random_state(seed, "sf", speaker.name, "requests")
    intents = tuple(TEMPLATES)
    requests: list[tuple[str, str, str]] = []
    while len(requests) < number:
        intent = intents[random.randint(len(intents))]
        template = TEMPLATES[intent][random.randint(len(TEMPLATES[intent]))]
        sentence, tags = filled(template, _draw_values(random))
        if sentence not in said:
            said.add(sentence)
            requests.append((intent, sentence, tags))
    return requests


def _draw_values(random: RandomState) -> dict[str, str]:
    """Draw a different value for every slot."""
    values: dict[str, str] = {}
    for slot, choices in SLOTS.items():
        free = [choice for choice in choices if choice not in values.values()]
        values[slot] = free[random.randint(len(free))]
    return values


def filled(template: str, values: Mapping[str, str]) -> tuple[str, str]:
    """Fill a template with values.

    Returns:
        The sentence, and the slot of each of its words.
    """
    words: list[str] = []
    tags: list[str] = []
    for part in template.split(" "):
        slot = part.strip("{}") if part.startswith("{") else OUTSIDE
        said = values[slot].split(" ") if slot in values else [part]
        words += said
        tags += [slot] * len(said)
    return " ".join(words), " ".join(tags)


def _utterance(speaker: Speaker, split: Split, index: int, intent: str, sentence: str, tags: str, seed: int) -> Request:
    folder = SPLIT_FOLDERS[split]
    path = f"{folder}/{speaker.name}-snips-{folder}-{index}.wav"
    return Request(
        path=path,
        split=split,
        text=sentence.upper(),
        label=tags,
        speaker=speaker,
        delivery=draw_delivery(random_state(seed, path, "delivery")),
        scene=draw_scene(random_state(seed, path, "scene"), CONDITIONS),
        intent=intent,
    )
