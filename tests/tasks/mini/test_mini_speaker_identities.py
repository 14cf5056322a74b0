"""The SID corpus: known speakers in pairs that share a voice, in videos, read alike by s3prl and by us."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tasks.bridge import s3prl_compat
from tasks.corpora.voxceleb1 import VoxCeleb1Data, read_voxceleb1
from tasks.mini.corpora import MiniCorpora
from tasks.mini.speaker_identities import LEAST_FORMANT_RATIO, SpeakerIdentities
from tasks.mini.speakers import Speaker, voices_of
from tasks.mini.utterances import Utterance


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


def test_every_speaker_is_heard_as_often(plan: list[Utterance]) -> None:
    counts = Counter((one.label, one.split) for one in plan)
    assert len({label for label, _ in counts}) == 32
    assert {split: {counts[label, split] for label, _ in counts} for split in ("train", "dev", "test")} == {
        "train": {24},
        "dev": {6},
        "test": {18},
    }


def test_voices_are_shared_by_two_whose_vocal_tracts_differ(plan: list[Utterance]) -> None:
    pairs = defaultdict(list)
    for speaker in speakers_of(plan):
        pairs[speaker.voice].append(speaker.formant_scale)
    assert [len(scales) for scales in pairs.values()] == [2] * 16
    assert all(max(scales) / min(scales) >= LEAST_FORMANT_RATIO for scales in pairs.values())
    assert set(pairs) <= set(voices_of("test", 0))


def test_no_remark_is_made_twice(plan: list[Utterance]) -> None:
    assert len({one.text for one in plan}) == len(plan)


def test_a_video_is_one_split_one_room_and_one_chain(plan: list[Utterance]) -> None:
    videos: dict[str, set[tuple]] = defaultdict(set)
    levels = defaultdict(set)
    for one in plan:
        scene = one.scene
        same = (one.split, scene.reverberation_s, scene.noise_slope, scene.equaliser_db, scene.fluctuation_hz)
        videos[str(Path(one.path).parent)].add(same)
        levels[str(Path(one.path).parent)].add(scene.snr_db)
    assert all(len(conditions) == 1 for conditions in videos.values())
    assert len({conditions.pop() for conditions in videos.values()}) == len(videos) == 32 * 16
    assert all(len(snrs) > 1 for snrs in levels.values())


def test_both_folders_of_the_layout_hold_whole_speakers(plan: list[Utterance]) -> None:
    parts = defaultdict(set)
    for one in plan:
        parts[Path(one.path).parts[1]].add(one.label)
    assert {part: len(labels) for part, labels in parts.items()} == {"dev": 28, "test": 4}
    assert not parts["dev"] & parts["test"]
