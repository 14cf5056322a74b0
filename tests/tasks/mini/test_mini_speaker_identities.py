"""The SID corpus: known speakers in groups that share a voice, read alike by s3prl and by us."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tasks.bridge import s3prl_compat
from tasks.corpora.voxceleb1 import VoxCeleb1Data, read_voxceleb1
from tasks.mini.corpora import MiniCorpora
from tasks.mini.speaker_identities import LEAST_FORMANT_RATIO, SpeakerIdentities
from tasks.mini.speaker_trials import SpeakerTrials
from tasks.mini.speakers import Speaker, voices_of
from tasks.mini.utterances import MiniCorpus, Utterance


def test_read_alike_by_s3prl_and_by_us(small_corpora: MiniCorpora) -> None:
    s3prl_compat.install()
    from s3prl.dataio.corpus.voxceleb1sid import VoxCeleb1SID

    data = VoxCeleb1Data.model_validate(small_corpora.data().tasks["sid"])
    ours = read_voxceleb1(data)
    theirs = VoxCeleb1SID(str(data.root), n_jobs=1, cache_root=str(data.root))
    manifest = {str(small_corpora.folder / "sid" / row["path"]): row for row in small_corpora.manifests()["sid"]}
    for split, parsed in zip(("train", "dev", "test"), theirs.data_split, strict=True):
        table = ours[split].set_index("id")
        assert {name: (str(one["wav_path"]), one["label"]) for name, one in parsed.items()} == {
            name: (row["wav_path"], row["label"]) for name, row in table.iterrows()
        }
        assert set(table["wav_path"]) == {path for path, row in manifest.items() if row["split"] == split}
        for _, row in table.iterrows():
            assert row["speaker"] == manifest[row["wav_path"]]["speaker"] == manifest[row["wav_path"]]["label"]
            assert row["label"] == f"speaker_{int(row['speaker'][2:]) - 10_001}"


@pytest.fixture(scope="module")
def plan() -> list[Utterance]:
    return SpeakerIdentities().utterances(0, 1.0)


def speakers_of(plan: list[Utterance]) -> list[Speaker]:
    return list(dict.fromkeys(one.speaker for one in plan if one.speaker))


def test_every_speaker_has_the_same_number_of_utterances(plan: list[Utterance]) -> None:
    counts = Counter((one.label, one.split) for one in plan)
    assert len({label for label, _ in counts}) == 48
    assert {split: {counts[label, split] for label, _ in counts} for split in ("train", "dev", "test")} == {
        "train": {18},
        "dev": {6},
        "test": {24},
    }


def test_speakers_who_share_a_voice_have_different_vocal_tracts(plan: list[Utterance]) -> None:
    groups = defaultdict(list)
    for speaker in speakers_of(plan):
        groups[speaker.voice].append(speaker.formant_scale)
    assert [len(scales) for scales in groups.values()] == [4] * 12
    for scales in groups.values():
        assert min(high / low for low, high in pairwise(sorted(scales))) >= LEAST_FORMANT_RATIO
    assert set(groups) <= set(voices_of("test", 0))


def test_no_remark_is_made_twice(plan: list[Utterance]) -> None:
    assert len({one.text for one in plan}) == len(plan)


@pytest.mark.parametrize("corpus", [SpeakerIdentities(), SpeakerTrials()], ids=lambda corpus: corpus.name)
def test_every_utterance_has_its_own_microphone_room_and_noise(corpus: MiniCorpus) -> None:
    scenes = [one.scene for one in corpus.utterances(0, 1.0)]
    for what in ("response_db", "noise_response_db"):
        assert len({getattr(scene, what) for scene in scenes}) == len(scenes)
    responses_db = np.array([scene.response_db for scene in scenes])
    between_bands = np.corrcoef(responses_db.T)
    # A tilt moves all bands of a microphone together, its details each band alone.
    assert abs(between_bands[0, -1]) < 0.9
    assert np.abs(np.diff(responses_db, axis=1)).mean() > 3.0


def test_microphones_and_levels_do_not_give_speakers_away(plan: list[Utterance]) -> None:
    by_speaker = defaultdict(list)
    for one in plan:
        by_speaker[one.label].append([*one.scene.response_db, one.scene.level_dbfs, one.scene.snr_db])
    values = np.array(list(by_speaker.values()))  # (speakers, utterances, traits)
    error = values.std(axis=(0, 1)) / np.sqrt(values.shape[1])
    assert np.all(np.abs(values.mean(axis=1) - values.mean(axis=(0, 1))) < 5 * error)


def test_a_video_is_one_session_of_one_split(plan: list[Utterance]) -> None:
    videos = defaultdict(list)
    for one in plan:
        videos[str(Path(one.path).parent)].append(one)
    assert len(videos) == 48 * 16
    assert all(len({one.split for one in video}) == 1 for video in videos.values())
    pitches = np.array([[one.delivery.pitch for one in video] for video in videos.values()], dtype=float)
    within = pitches.var(axis=1, ddof=1).mean()
    # Sessions differ by more than their utterances explain.
    assert pitches.mean(axis=1).var(ddof=1) > 1.2 * within / pitches.shape[1]


def test_both_folders_of_the_layout_hold_whole_speakers(plan: list[Utterance]) -> None:
    parts = defaultdict(set)
    for one in plan:
        parts[Path(one.path).parts[1]].add(one.label)
    assert {part: len(labels) for part, labels in parts.items()} == {"dev": 40, "test": 8}
    assert not parts["dev"] & parts["test"]
