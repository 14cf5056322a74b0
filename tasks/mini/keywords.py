"""The KS corpus: single words, in the layout of Speech Commands v0.01 with its separate test set."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tasks.corpora.embedded_manifest import ManifestRow
from tasks.mini.delivery import draw_delivery
from tasks.mini.randomness import random_state
from tasks.mini.scenes import Conditions, draw_scene
from tasks.mini.speakers import Speaker, Split, draw_speakers
from tasks.mini.utterances import Utterance, scaled

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
# Half of them sound like a keyword, so that a vowel alone does not identify one.
OTHER_WORDS = (
    "snow",
    "yell",
    "cup",
    "town",
    "lift",
    "ride",
    "arm",
    "cough",
    "shop",
    "gold",
    "button",
    "garden",
    "monkey",
    "music",
    "paper",
    "river",
    "seven",
    "table",
    "window",
    "yellow",
)
TRAINING_FOLDER = "speech_commands"
TEST_FOLDER = "speech_commands_test_set"
CLIP_S = 1.0
CONDITIONS = Conditions(snr_db=(-3.0, 15.0), reverberant_share=0.6)
NUM_SPEAKERS: dict[Split, int] = {"train": 40, "dev": 8, "test": 80}
CLIPS_PER_KEYWORD: dict[Split, int] = {"train": 2, "dev": 2, "test": 1}
"""Per speaker."""
OTHER_CLIPS: dict[Split, int] = {"train": 5, "dev": 5, "test": 1}
"""Per speaker."""
NUM_SILENCES = 80
"""Clips of pure noise in the test set."""
NUM_NOISES, NOISE_S = 6, 14.0
"""Long recordings of noise. Training cuts its one-second silences from them."""

Partition = Literal["validation", "testing", "training"]
PARTITIONS: dict[Split, Partition] = {"train": "training", "dev": "validation"}


def partition(speaker_name: str) -> Partition:
    """Return the part of the corpus that Speech Commands assigns a speaker to: 10 % validation, 10 % testing.

    SUPERB drops the testing part of the training archive and tests on the separate test set.

    Source: ``which_set`` of the README of Speech Commands v0.01.
    """
    largest = 2**27 - 1
    digest = int(hashlib.sha1(speaker_name.encode()).hexdigest(), 16)
    percentage = (digest % (largest + 1)) * (100.0 / largest)
    if percentage < 10:
        return "validation"
    return "testing" if percentage < 20 else "training"


class Keywords:
    """Ten keywords, other words (``_unknown_``) and noise (``_silence_``) in clips of one second."""

    name = "ks"

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List every clip and background noise."""
        made: list[Utterance] = []
        for split, number in NUM_SPEAKERS.items():
            names = _speaker_names(split, scaled(number, scale), seed)
            for speaker in draw_speakers(names, split=split, corpus=self.name, seed=seed):
                made += _clips(speaker, split, seed)
        for index in range(scaled(NUM_SILENCES, scale)):
            path = f"{TEST_FOLDER}/_silence_/silence_nohash_{index}.wav"
            made.append(_noise(path, "test", CLIP_S, seed))
        for index in range(scaled(NUM_NOISES, scale)):
            made.append(_noise(f"{TRAINING_FOLDER}/_background_noise_/noise_{index}.wav", "train", NOISE_S, seed))
        return made

    def write_tables(self, folder: Path, utterances: Sequence[Utterance], manifest: Sequence[ManifestRow]) -> None:
        """Write nothing: the folders are the labels."""

    def task_data(self, folder: Path) -> dict[str, Any]:
        """Return the data entry with the training and the test archive."""
        return {
            "layout": "speech_commands",
            "root": folder / TRAINING_FOLDER,
            "test_root": folder / TEST_FOLDER,
        }


def _speaker_names(split: Split, number: int, seed: int) -> list[str]:
    """Name speakers by eight hexadecimal digits, as in the archive, such that the partition gives the wanted split."""
    random = random_state(seed, "ks", split, "names")
    names: list[str] = []
    while len(names) < number:
        name = f"{random.randint(2**32, dtype='uint64'):08x}"
        if split == "test" or partition(name) == PARTITIONS[split]:
            names.append(name)
    return names


def _clips(speaker: Speaker, split: Split, seed: int) -> list[Utterance]:
    others = random_state(seed, "ks", speaker.name, "words").permutation(OTHER_WORDS)[: OTHER_CLIPS[split]]
    words = [*KEYWORDS * CLIPS_PER_KEYWORD[split], *map(str, others)]
    clips = []
    takes: Counter[str] = Counter()
    for word in words:
        label = word if word in KEYWORDS else "_unknown_"
        folder = f"{TEST_FOLDER}/{label}" if split == "test" else f"{TRAINING_FOLDER}/{word}"
        path = f"{folder}/{speaker.name}_nohash_{takes[folder]}.wav"
        takes[folder] += 1
        scene = draw_scene(random_state(seed, path, "scene"), CONDITIONS)
        clips.append(
            Utterance(
                path=path,
                split=split,
                text=word,
                label=label,
                speaker=speaker,
                delivery=draw_delivery(random_state(seed, path, "delivery")),
                scene=scene,
                duration_s=CLIP_S,
            )
        )
    return clips


def _noise(path: str, split: Split, duration_s: float, seed: int) -> Utterance:
    scene = draw_scene(random_state(seed, path, "scene"), CONDITIONS)
    return Utterance(
        path=path,
        split=split,
        text="",
        label="_silence_",
        speaker=None,
        delivery=None,
        scene=scene,
        duration_s=duration_s,
    )
