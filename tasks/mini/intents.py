"""The IC corpus: commands to a smart home, in the layout of Fluent Speech Commands."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from numpy.random import RandomState

from tasks.corpora.embedded_manifest import ManifestRow
from tasks.mini.delivery import draw_delivery
from tasks.mini.randomness import random_state
from tasks.mini.scenes import Conditions, draw_scene
from tasks.mini.speakers import Speaker, Split, draw_speakers
from tasks.mini.utterances import Utterance, scaled

# Every action has its own verbs, and shares others that only a particle distinguishes.
WORDINGS: dict[str, tuple[str, ...]] = {
    "activate": (
        "start {thing}",
        "I want to use {thing}",
        "switch on {thing}",
        "turn {thing} on",
    ),
    "deactivate": (
        "finish with {thing}",
        "stop {thing}",
        "switch off {thing}",
        "turn {thing} off",
    ),
    "increase": (
        "I want more from {thing}",
        "increase {thing}",
        "turn up {thing}",
        "turn {thing} higher",
    ),
    "decrease": (
        "I want less from {thing}",
        "reduce {thing}",
        "turn down {thing}",
        "turn {thing} lower",
    ),
}
OBJECTS = ("fan", "heating", "lights", "radio")
PLACES = ("none", "kitchen", "bedroom")
NO_PLACE = "none"
THINGS_SOMEWHERE = ("the {object} in the {place}", "the {place} {object}")
SPLIT_FILES: dict[Split, str] = {"train": "train", "dev": "valid", "test": "test"}
COLUMNS = ("path", "speakerId", "transcription", "action", "object", "location")
NUM_SPEAKERS: dict[Split, int] = {"train": 45, "dev": 8, "test": 80}
COMMANDS_PER_SPEAKER: dict[Split, int] = {"train": 20, "dev": 20, "test": 14}
CONDITIONS = Conditions(snr_db=(5.0, 25.0), reverberant_share=0.6)


class Intent(NamedTuple):
    """The intent of a command: all three parts must be recognised."""

    action: str
    object: str
    location: str


INTENTS = tuple(Intent(*slots) for slots in product(WORDINGS, OBJECTS, PLACES))


class Intents:
    """Commands, labelled with action, object and location."""

    name = "ic"

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List every command. No speaker is in two splits or gives a command twice."""
        made: list[Utterance] = []
        for split, number in NUM_SPEAKERS.items():
            names = [f"{SPLIT_FILES[split]}{index:03d}" for index in range(scaled(number, scale))]
            for speaker in draw_speakers(names, split=split, corpus=self.name, seed=seed):
                random = random_state(seed, self.name, speaker.name, "commands")
                chosen = random.permutation(len(INTENTS))[: COMMANDS_PER_SPEAKER[split]]
                for index, intent in enumerate(chosen):
                    made.append(_utterance(speaker, split, index, INTENTS[intent], random, seed))
        return made

    def write_tables(
        self,
        folder: Path,
        utterances: Sequence[Utterance],  # noqa: ARG002 - the manifest says it all
        manifest: Sequence[ManifestRow],
    ) -> None:
        """Write ``data/{train,valid,test}_data.csv``."""
        (folder / "data").mkdir()
        for split, name in SPLIT_FILES.items():
            with (folder / "data" / f"{name}_data.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(("", *COLUMNS))
                rows = [row for row in manifest if row.split == split]
                for index, row in enumerate(rows):
                    writer.writerow((index, row.path, row.speaker, row.text, *row.label.split("|")))

    def task_data(self, folder: Path) -> dict[str, Any]:
        """Return the data entry. The corpus has its own split files."""
        return {"layout": "fluent_speech_commands", "root": folder}


def _utterance(speaker: Speaker, split: Split, index: int, intent: Intent, random: RandomState, seed: int) -> Utterance:
    path = f"wavs/speakers/{speaker.name}/{speaker.name}-{index:04d}.wav"
    return Utterance(
        path=path,
        split=split,
        text=_worded(intent, random),
        label="|".join(intent),
        speaker=speaker,
        delivery=draw_delivery(random_state(seed, path, "delivery")),
        scene=draw_scene(random_state(seed, path, "scene"), CONDITIONS),
    )


def _worded(intent: Intent, random: RandomState) -> str:
    """Word an intent."""
    wordings = WORDINGS[intent.action]
    wording = wordings[random.randint(len(wordings))]
    somewhere = THINGS_SOMEWHERE[random.randint(len(THINGS_SOMEWHERE))]
    thing = f"the {intent.object}" if intent.location == NO_PLACE else somewhere
    thing = thing.format(object=intent.object, place=intent.location)
    command = wording.format(thing=thing)
    return command[0].upper() + command[1:]
