"""The ASV corpus: trials of unknown speakers, in the layout of VoxCeleb1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.corpora.embedded_manifest import ManifestRow
from tasks.corpora.trials import drawn_trials
from tasks.corpora.voxceleb1_trials import TRIAL_FILE
from tasks.mini.speaker_identities import SPLIT_CODES, SPLIT_FILE, UTTERANCES_PER_VIDEO, draw_video
from tasks.mini.speakers import Split, draw_speakers
from tasks.mini.utterances import Utterance, scaled

FOLDER = "VoxCeleb1-trials"
"""Other than the SID corpus's: paths name the random streams of recordings."""
FIRST_SPEAKER_ID: Mapping[Split, int] = {"train": 10_001, "dev": 10_201, "test": 10_270}
"""s3prl takes 10,270 to 10,309 for the test speakers."""
NUM_SPEAKERS: Mapping[Split, int] = {"train": 100, "dev": 5, "test": 40}
VIDEOS: Mapping[Split, int] = {"train": 2, "dev": 2, "test": 2}
TRIALS_PER_RECORDING = 8


class SpeakerTrials:
    """Remarks in several videos. No voice of dev or test is in the training set."""

    name = "asv"

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List every utterance. The number of dev speakers does not scale."""
        said: set[str] = set()
        made: list[Utterance] = []
        for split, first in FIRST_SPEAKER_ID.items():
            number = NUM_SPEAKERS[split] if split == "dev" else max(2, scaled(NUM_SPEAKERS[split], scale))
            names = [f"id{first + index}" for index in range(number)]
            part = "test" if split == "test" else "dev"
            for speaker in draw_speakers(names, split=split, corpus=self.name, seed=seed):
                for _ in range(VIDEOS[split]):
                    place = f"{FOLDER}/{part}/wav/{speaker.name}/video{len(made) // UTTERANCES_PER_VIDEO:06d}"
                    made += draw_video(speaker, split, place, said, seed)
        return made

    def write_tables(
        self,
        folder: Path,
        utterances: Sequence[Utterance],
        manifest: Sequence[ManifestRow],  # noqa: ARG002 - the plan says it all
    ) -> None:
        """Write the trials, and ``iden_split.txt``, which s3prl reads too."""
        paths = {"/".join(Path(one.path).parts[-3:]): one for one in utterances}
        split_lines = [f"{SPLIT_CODES[one.split]} {path}\n" for path, one in paths.items()]
        (folder / FOLDER / SPLIT_FILE).write_text("".join(split_lines), encoding="utf-8")
        tested = [(path, one.label) for path, one in paths.items() if one.split == "test"]
        trials = drawn_trials(pd.DataFrame(tested, columns=["id", "speaker"]), TRIALS_PER_RECORDING)
        trial_lines = [f"{int(trial.is_same)} {trial.first} {trial.second}\n" for trial in trials]
        (folder / FOLDER / TRIAL_FILE).write_text("".join(trial_lines), encoding="utf-8")

    def task_data(self, folder: Path) -> dict[str, Any]:
        """Return the data entry."""
        return {"layout": "voxceleb1", "root": folder / FOLDER, "num_dev_speakers": NUM_SPEAKERS["dev"]}
