"""Unlabelled speech of hundreds of speakers, for compression and pretraining."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from bench.contracts import AudioSource
from tasks.corpora.embedded_manifest import MANIFEST, ManifestRow
from tasks.mini.delivery import draw_delivery
from tasks.mini.randomness import random_state
from tasks.mini.scenes import Conditions, draw_scene
from tasks.mini.speakers import Speaker, draw_speakers
from tasks.mini.unlabelled_text import sentence
from tasks.mini.utterances import Utterance

NAME = "unlabelled"
SENTENCES_PER_SPEAKER = 10
SPEAKERS_DRAWN_AT_ONCE = 200
"""They have different voices. The next group has the same voices with other vocal tracts, pitches and rates."""
CONDITIONS = Conditions(snr_db=(5.0, 30.0), reverberant_share=0.5)
CLEAN = Conditions(snr_db=(50.0, 60.0), reverberant_share=0.0)
"""Nearly no noise and no room, for a recipe that adds its own."""
CHARACTERS_PER_S_AT_160_WPM = 15.6
"""Measured over an hour of audio, including margins."""


class Unlabelled:
    """Speech whose speakers and sentences occur in no dev or test set of the mini corpora."""

    name = NAME

    def __init__(self, hours: float, held_out_sentences: Collection[str], *, clean: bool = False):
        """Plan about ``hours`` of speech without any of ``held_out_sentences`` (lower case).

        ``clean`` speech has the same speakers and sentences, without noise and rooms.
        """
        self._hours = hours
        self._held_out = held_out_sentences
        self._conditions = CLEAN if clean else CONDITIONS

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List sentences, ten per speaker, up to the total duration."""
        made: list[Utterance] = []
        remaining_s = self._hours * scale * 3600
        group = 0
        while remaining_s > 0:
            names = [f"u{group * SPEAKERS_DRAWN_AT_ONCE + index:05d}" for index in range(SPEAKERS_DRAWN_AT_ONCE)]
            for speaker in draw_speakers(names, split="train", corpus=f"{NAME} {group}", seed=seed):
                for utterance in self._spoken_by(speaker, seed):
                    if remaining_s > 0:
                        made.append(utterance)
                        remaining_s -= _estimated_s(utterance)
            group += 1
        return made

    def write_tables(self, folder: Path, utterances: Sequence[Utterance], manifest: Sequence[ManifestRow]) -> None:
        """Write nothing: the manifest suffices."""

    def task_data(self, folder: Path) -> dict[str, Any]:
        """Return nothing: no task uses this corpus."""
        del folder
        return {}

    @staticmethod
    def training_audio(folder: Path) -> AudioSource:
        """Return the audio for compression."""
        return AudioSource(layout="manifest", manifest=folder / MANIFEST)

    def _spoken_by(self, speaker: Speaker, seed: int) -> list[Utterance]:
        random = random_state(seed, NAME, speaker.name, "sentences")
        sentences: list[str] = []
        while len(sentences) < SENTENCES_PER_SPEAKER:
            said = sentence(random)
            if said not in self._held_out:
                sentences.append(said)
        return [_utterance(speaker, index, said, seed, self._conditions) for index, said in enumerate(sentences)]


def _utterance(speaker: Speaker, index: int, said: str, seed: int, conditions: Conditions) -> Utterance:
    path = f"{speaker.name}/{speaker.name}-{index:04d}.flac"
    return Utterance(
        path=path,
        split="train",
        text=said,
        label="",
        speaker=speaker,
        delivery=draw_delivery(random_state(seed, path, "delivery")),
        scene=draw_scene(random_state(seed, path, "scene"), conditions),
    )


def _estimated_s(utterance: Utterance) -> float:
    assert utterance.speaker is not None
    assert utterance.delivery is not None
    rate = utterance.speaker.rate_wpm * utterance.delivery.rate / 160
    return len(utterance.text) / (CHARACTERS_PER_S_AT_160_WPM * rate)
