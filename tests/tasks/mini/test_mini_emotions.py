"""The ER corpus: five sessions that share nobody, read alike by s3prl and by us; only the manner tells the emotion."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from tasks.bridge import s3prl_compat
from tasks.corpora.iemocap import LABELS, IEMOCAPData, read_iemocap, split_for_session
from tasks.mini.corpora import MiniCorpora
from tasks.mini.emotions import EXPRESSIONS, UNDECIDED, Emotions
from tasks.mini.speakers import voices_of
from tasks.mini.utterances import Utterance


@pytest.fixture
def data(small_corpora: MiniCorpora) -> IEMOCAPData:
    return IEMOCAPData.model_validate(small_corpora.data().tasks["er"])


def test_read_alike_by_s3prl_and_by_us(small_corpora: MiniCorpora, data: IEMOCAPData) -> None:
    s3prl_compat.install()
    from s3prl.dataio.corpus.iemocap import IEMOCAP

    table = read_iemocap(data).set_index("id")
    theirs = IEMOCAP(str(data.root), n_jobs=1).all_data
    manifest = {Path(row["path"]).stem: row for row in small_corpora.manifests()["er"]}
    assert set(theirs) == set(manifest)
    assert set(table.index) == {name for name, row in manifest.items() if row["label"] in EXPRESSIONS}
    for name, row in table.iterrows():
        assert row["label"] == manifest[name]["label"] == LABELS[theirs[name]["emotion"]]
        assert row["emotion"] == theirs[name]["emotion"]
        assert row["wav_path"] == theirs[name]["wav_path"]
        assert f"session{row['session']}" == manifest[name]["split"]
    assert set(table["emotion"]) == set(LABELS)


def test_every_session_can_be_tested_on(data: IEMOCAPData) -> None:
    table = read_iemocap(data)
    for session in range(1, 6):
        fold = split_for_session(data, table, session)
        assert set(fold["test"]["label"]) == set(fold["train"]["label"]) == set(EXPRESSIONS)


@pytest.fixture(scope="module")
def plan() -> list[Utterance]:
    return Emotions().utterances(0, 1.0)


def test_emotions_are_as_frequent_in_every_session(plan: list[Utterance]) -> None:
    counts = Counter((one.split, one.label) for one in plan)
    assert {counts[f"session{session}", emotion] for session in range(1, 6) for emotion in EXPRESSIONS} == {64}
    assert {counts[f"session{session}", emotion] for session in range(1, 6) for emotion in UNDECIDED.values()} == {4}


def test_dialogs_are_of_two_speakers_and_sessions_share_no_voice(plan: list[Utterance]) -> None:
    dialogs, voices = defaultdict(set), defaultdict(set)
    for one in plan:
        assert one.speaker is not None
        dialogs[Path(one.path).parent].add(one.speaker)
        voices[one.split].add(one.speaker.voice)
        assert Path(one.path).stem[-4] == one.speaker.voice.sex
    speakers = [speaker for pair in dialogs.values() for speaker in pair]
    assert all(len(pair) == 2 for pair in dialogs.values())
    assert len(set(speakers)) == len(speakers) == 80
    assert sum(len(own) for own in voices.values()) == len(set().union(*voices.values()))
    assert set().union(*voices.values()) <= set(voices_of("test", 0))


def test_words_recording_and_speakers_do_not_tell_the_emotion(plan: list[Utterance]) -> None:
    assert len({one.text for one in plan}) == len(plan)
    by_emotion = {emotion: [one for one in plan if one.label == emotion] for emotion in EXPRESSIONS}
    for what in (
        lambda one: len(one.text),
        lambda one: one.scene.snr_db,
        lambda one: one.scene.level_dbfs,
        lambda one: "the" in one.text.split()[0],
    ):
        values = [np.array([what(one) for one in ones], dtype=float) for ones in by_emotion.values()]
        spread = np.concatenate(values).std() / np.sqrt(len(values[0]))
        assert np.ptp([value.mean() for value in values]) < 4.5 * spread
    assert len({frozenset(Counter(one.speaker for one in ones).items()) for ones in by_emotion.values()}) == 1


def test_manners_overlap_but_differ(plan: list[Utterance]) -> None:
    pitch_range = {
        emotion: np.array([one.speaker.pitch_range + one.delivery.pitch_range for one in plan if one.label == emotion])
        for emotion in EXPRESSIONS
    }
    assert pitch_range["sad"].mean() < pitch_range["neu"].mean() < pitch_range["hap"].mean()
    assert np.percentile(pitch_range["sad"], 95) > np.percentile(pitch_range["neu"], 25)
    assert np.percentile(pitch_range["neu"], 99) > np.percentile(pitch_range["hap"], 5)
