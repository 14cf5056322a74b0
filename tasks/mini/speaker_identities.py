"""The SID corpus: groups of speakers who share a voice, in the layout of VoxCeleb1."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tasks.corpora.embedded_manifest import ManifestRow
from tasks.mini.delivery import Delivery, draw_delivery
from tasks.mini.randomness import random_state
from tasks.mini.remarks import draw_remarks
from tasks.mini.scenes import Conditions, draw_scene
from tasks.mini.speakers import Speaker, Split, draw_speaker, voices_of
from tasks.mini.utterances import Utterance, scaled

FOLDER = "VoxCeleb1"
SPLIT_FILE = "iden_split.txt"
SPLIT_CODES: dict[str, int] = {"train": 1, "dev": 2, "test": 3}
FIRST_SPEAKER_ID = 10_001
NUM_VOICES = 12
SPEAKERS_PER_VOICE = 4
TEST_FOLDER_SHARE = 0.125
"""Share of the voices below ``test/wav``, the test speakers of VoxCeleb1's other use, verification."""
VIDEOS: dict[Split, int] = {"train": 6, "dev": 2, "test": 8}
UTTERANCES_PER_VIDEO = 3
LEAST_FORMANT_RATIO = 1.05
"""Between any two vocal tracts of speakers who share a voice."""
CONDITIONS = Conditions(snr_db=(0.0, 20.0), reverberant_share=0.6, response_db=6.0, tilt_db=2.0, noise_response_db=12.0)


class SpeakerIdentities:
    """Remarks by known speakers in several videos.

    A video is one session: the speaker's pitch, intonation and rate shift a little. Every utterance has its own
    microphone, room, noise and level, so that its mean spectrum says more about them than about the speaker.
    """

    name = "sid"

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List every utterance. No remark occurs twice, and no video is in two splits."""
        said: set[str] = set()
        num_voices = scaled(NUM_VOICES, scale)
        num_test_voices = round(TEST_FOLDER_SHARE * num_voices)
        made: list[Utterance] = []
        for index, speaker in enumerate(_speakers(num_voices, seed)):
            part = "test" if index >= SPEAKERS_PER_VOICE * (num_voices - num_test_voices) else "dev"
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


def _speakers(num_voices: int, seed: int) -> list[Speaker]:
    """Draw groups of speakers with the same voice and audibly different vocal tracts."""
    random = random_state(seed, "sid", "speakers")
    # Compression and pretraining use training voices only.
    voices = voices_of("test", seed)
    speakers: list[Speaker] = []
    for index in random.permutation(len(voices))[:num_voices]:
        names = [f"id{FIRST_SPEAKER_ID + len(speakers) + member}" for member in range(SPEAKERS_PER_VOICE)]
        group = [draw_speaker(name, voices[index], random) for name in names]
        while _least_formant_ratio(group) < LEAST_FORMANT_RATIO:
            group = [draw_speaker(name, voices[index], random) for name in names]
        speakers += group
    return speakers


def _least_formant_ratio(speakers: Sequence[Speaker]) -> float:
    scales = sorted(speaker.formant_scale for speaker in speakers)
    return min(high / low for low, high in pairwise(scales))


def draw_video(speaker: Speaker, split: Split, folder: str, said: set[str], seed: int) -> list[Utterance]:
    """Draw the remarks of one speaker in one session. ``folder`` also names the random streams."""
    random = random_state(seed, folder, "video")
    session = Delivery(
        rate=round(random.uniform(0.93, 1.07), 3),
        pitch=int(random.randint(-4, 5)),
        pitch_range=int(random.randint(-8, 9)),
    )
    return [
        Utterance(
            path=(path := f"{folder}/{index:05d}.wav"),
            split=split,
            text=remark,
            label=speaker.name,
            speaker=speaker,
            delivery=_combined(session, draw_delivery(random_state(seed, path, "delivery"))),
            scene=draw_scene(random_state(seed, path, "scene"), CONDITIONS),
        )
        for index, remark in enumerate(draw_remarks(UTTERANCES_PER_VIDEO, random, said), start=1)
    ]


def _combined(session: Delivery, own: Delivery) -> Delivery:
    """Return the delivery of one utterance in a session."""
    return Delivery(
        rate=round(session.rate * own.rate, 3),
        pitch=session.pitch + own.pitch,
        pitch_range=session.pitch_range + own.pitch_range,
    )
