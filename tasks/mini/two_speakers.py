"""The SD corpus: mixtures of two speakers, in the layout of LibriMix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from numpy.random import RandomState

from tasks.corpora.embedded_manifest import ManifestRow
from tasks.metrics.speaker_spans import TICKS_PER_S, spans_of_text
from tasks.mini.delivery import draw_delivery
from tasks.mini.mixtures import Mixture, Remark, Source
from tasks.mini.randomness import random_state
from tasks.mini.remarks import draw_remarks
from tasks.mini.scenes import Conditions, draw_scene
from tasks.mini.speakers import Speaker, Split, draw_speakers
from tasks.mini.utterances import Utterance, scaled

FOLDER = "LibriMix"
DATA = "data"
"""Folder of the tables."""
SUBSETS: Mapping[Split, str] = {"train": "train-100", "dev": "dev", "test": "test"}
NUM_SPEAKERS: Mapping[Split, int] = {"train": 80, "dev": 12, "test": 30}
MIXTURES_PER_SPEAKER = 4
"""Mixtures by the number of speakers. Each speaker is in twice as many, with another partner in each."""
FIRST_SPEAKER_ID: Mapping[Split, int] = {"train": 60_001, "dev": 70_001, "test": 80_001}
MOST_REMARKS = 2
"""By one speaker of a mixture."""
FIRST_PAUSE_S = (0.05, 0.6)
PAUSE_S = (0.5, 1.2)
"""LibriMix's labels leave out pauses from 0.5 s on."""
LEVEL_DB = (-3.0, 3.0)
CONDITIONS = Conditions(snr_db=(5.0, 20.0), reverberant_share=0.6)


class TwoSpeakers:
    """Two speakers whose remarks overlap. No voice of dev or test is in the training set."""

    name = "sd"

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List every mixture."""
        made: list[Utterance] = []
        for split, number in NUM_SPEAKERS.items():
            names = [str(FIRST_SPEAKER_ID[split] + index) for index in range(max(2, scaled(number, scale)))]
            speakers = draw_speakers(names, split=split, corpus=self.name, seed=seed)
            random = random_state(seed, self.name, split, "pairs")
            numbers = count(1)
            for first, second in _pairs(speakers, random):
                name = "_".join(f"{one.name}-{next(numbers):04d}" for one in (first, second))
                made.append(_mixture(first, second, split, name, seed))
        return made

    def write_tables(self, folder: Path, utterances: Sequence[Utterance], manifest: Sequence[ManifestRow]) -> None:
        """Write the folders of `tasks.corpora.librimix`, and s3prl's further files."""
        files: dict[Path, list[str]] = defaultdict(list)
        recordings_of: dict[tuple[str, str], list[str]] = defaultdict(list)
        for utterance, row in zip(utterances, manifest, strict=True):
            data = folder / FOLDER / DATA / utterance.split
            name = Path(utterance.path).stem
            # LibriMix's paths are absolute. Relative ones let the corpus move.
            files[data / "wav.scp"].append(f"{name} {utterance.path.removeprefix(f'{FOLDER}/')}")
            files[data / "reco2dur"].append(f"{name} {row.duration_s}")
            for number, (speaker, spans) in enumerate(
                zip(row.speaker.split(), spans_of_text(row.label), strict=True), start=1
            ):
                recordings_of[utterance.split, speaker].append(name)
                for start, end in spans:
                    segment = f"{name}_{number}_{10 * start:06d}_{10 * end:06d}"
                    start_s, length_s, end_s = (each / TICKS_PER_S for each in (start, end - start, end))
                    files[data / "segments"].append(f"{segment} {name} {start_s:.2f} {end_s:.2f}")
                    files[data / "utt2spk"].append(f"{segment} {speaker}")
                    files[data / "rttm"].append(
                        f"SPEAKER {name} 1 {start_s:.2f} {length_s:.2f} <NA> <NA> {speaker} <NA> <NA>"
                    )
        for (split, speaker), names in recordings_of.items():
            files[folder / FOLDER / DATA / split / "spk2utt"].append(f"{speaker} {' '.join(names)}")
        for file, lines in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def task_data(self, folder: Path) -> dict[str, Any]:
        """Return the data entry."""
        return {"layout": "librimix", "root": folder / FOLDER / DATA}


def _pairs(speakers: Sequence[Speaker], random: RandomState) -> list[tuple[Speaker, Speaker]]:
    """Pair every speaker with the next ones of a random circle."""
    order = [speakers[index] for index in random.permutation(len(speakers))]
    return [
        (one, order[(index + distance) % len(order)])
        for distance in range(1, min(MIXTURES_PER_SPEAKER, len(order) - 1) + 1)
        for index, one in enumerate(order)
    ]


def _mixture(first: Speaker, second: Speaker, split: Split, name: str, seed: int) -> Mixture:
    path = f"{FOLDER}/Libri2Mix/wav16k/max/{SUBSETS[split]}/mix_both/{name}.wav"
    random = random_state(seed, path, "mixture")
    said: set[str] = set()
    sources = tuple(
        _source(speaker, draw_remarks(1 + int(random.randint(MOST_REMARKS)), random, said), random)
        for speaker in (first, second)
    )
    return Mixture(
        path=path,
        split=split,
        text=" / ".join(remark.text for source in sources for remark in source.remarks),
        label="",
        speaker=None,
        delivery=None,
        scene=draw_scene(random_state(seed, path, "scene"), Conditions(CONDITIONS.snr_db, reverberant_share=0.0)),
        sources=sources,
    )


def _source(speaker: Speaker, texts: Sequence[str], random: RandomState) -> Source:
    return Source(
        speaker=speaker,
        remarks=tuple(
            Remark(text, draw_delivery(random), round(random.uniform(*(PAUSE_S if index else FIRST_PAUSE_S)), 2))
            for index, text in enumerate(texts)
        ),
        level_db=round(random.uniform(*LEVEL_DB), 2),
        reverberation_s=round(random.uniform(0.15, 0.6), 3) if random.uniform() < CONDITIONS.reverberant_share else 0.0,
    )
