"""The SID corpus: speakers in pairs that share a voice, in the layout of VoxCeleb1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.corpora.embedded_manifest import ManifestRow
from tasks.mini.delivery import draw_delivery
from tasks.mini.randomness import random_state
from tasks.mini.remarks import draw_remarks
from tasks.mini.scenes import Conditions, draw_scene
from tasks.mini.speakers import Speaker, Split, draw_speaker, voices_of
from tasks.mini.utterances import Utterance, scaled

FOLDER = "VoxCeleb1"
SPLIT_FILE = "iden_split.txt"
SPLIT_CODES: dict[str, int] = {"train": 1, "dev": 2, "test": 3}
FIRST_SPEAKER_ID = 10_001
NUM_PAIRS = 16
TEST_FOLDER_SHARE = 0.125
"""Share of the pairs below ``test/wav``, the test speakers of VoxCeleb1's other use, verification."""
VIDEOS: dict[Split, int] = {"train": 8, "dev": 2, "test": 6}
UTTERANCES_PER_VIDEO = 3
LEAST_FORMANT_RATIO = 1.06
"""Formant scales of the two vocal tracts in a pair."""
CONDITIONS = Conditions(snr_db=(0.0, 20.0), reverberant_share=0.6, equaliser_db=6.0)


class SpeakerIdentities:
    """Remarks by known speakers in several videos. A video has one room, noise and recording chain."""

    name = "sid"

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List every utterance. No remark occurs twice, and no video is in two splits."""
        said: set[str] = set()
        num_pairs = scaled(NUM_PAIRS, scale)
        num_test_pairs = round(TEST_FOLDER_SHARE * num_pairs)
        made: list[Utterance] = []
        for index, speaker in enumerate(_speakers(num_pairs, seed)):
            part = "test" if index >= 2 * (num_pairs - num_test_pairs) else "dev"
            for split, number in VIDEOS.items():
                for _ in range(number):
                    video = f"video{len(made) // UTTERANCES_PER_VIDEO:06d}"
                    made += draw_video(speaker, split, f"{FOLDER}/{part}/wav/{speaker.name}/{video}", said, seed)
        return made

    def write_tables(
        self,
        folder: Path,
        utterances: Sequence[Utterance],
        manifest: Sequence[ManifestRow],  # noqa: ARG002 - the plan says it all
    ) -> None:
        """Write ``iden_split.txt``."""
        lines = [
            f"{SPLIT_CODES[utterance.split]} {'/'.join(Path(utterance.path).parts[-3:])}\n" for utterance in utterances
        ]
        (folder / FOLDER / SPLIT_FILE).write_text("".join(lines), encoding="utf-8")

    def task_data(self, folder: Path) -> dict[str, Any]:
        """Return the data entry."""
        return {"layout": "voxceleb1", "root": folder / FOLDER}


def _speakers(num_pairs: int, seed: int) -> list[Speaker]:
    """Draw pairs of speakers with the same voice and audibly different vocal tracts."""
    random = random_state(seed, "sid", "speakers")
    # Compression and pretraining use training voices only.
    voices = voices_of("test", seed)
    speakers: list[Speaker] = []
    for index in random.permutation(len(voices))[:num_pairs]:
        names = [f"id{FIRST_SPEAKER_ID + len(speakers) + member}" for member in range(2)]
        one = draw_speaker(names[0], voices[index], random)
        other = draw_speaker(names[1], voices[index], random)
        while _formant_ratio(one, other) < LEAST_FORMANT_RATIO:
            other = draw_speaker(names[1], voices[index], random)
        speakers += [one, other]
    return speakers


def _formant_ratio(one: Speaker, other: Speaker) -> float:
    low, high = sorted((one.formant_scale, other.formant_scale))
    return high / low


def draw_video(speaker: Speaker, split: Split, folder: str, said: set[str], seed: int) -> list[Utterance]:
    """Draw the remarks of one speaker in one place. ``folder`` also names the random streams."""
    random = random_state(seed, folder, "video")
    place = draw_scene(random, CONDITIONS)
    return [
        Utterance(
            path=(path := f"{folder}/{index:05d}.wav"),
            split=split,
            text=remark,
            label=speaker.name,
            speaker=speaker,
            delivery=draw_delivery(random_state(seed, path, "delivery")),
            scene=replace(place, snr_db=round(random.uniform(*CONDITIONS.snr_db), 2)),
        )
        for index, remark in enumerate(draw_remarks(UTTERANCES_PER_VIDEO, random, said), start=1)
    ]
