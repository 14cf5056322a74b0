"""The SD corpus: mixtures whose labels are where the speech is, read by s3prl's own parser."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.corpora.librimix import LibriMixData
from tasks.corpora.speaker_turns import spans_of_turns, turns_of
from tasks.metrics.speaker_spans import spans_of_text
from tasks.mini.corpora import MiniCorpora
from tasks.mini.two_speakers import MIXTURES_PER_SPEAKER, NUM_SPEAKERS, TwoSpeakers
from tasks.sd import SD


def data_of(corpora: MiniCorpora) -> LibriMixData:
    return LibriMixData.model_validate(TwoSpeakers().task_data(corpora.folder / "sd"))


def test_every_speaker_meets_as_many_others() -> None:
    mixtures = TwoSpeakers().utterances(0, 1.0)
    pairs = Counter(frozenset(source.speaker.name for source in one.sources) for one in mixtures)  # type: ignore[attr-defined]
    meetings = Counter(name for pair in pairs for name in pair)
    assert set(pairs.values()) == {1}
    assert set(meetings.values()) == {2 * MIXTURES_PER_SPEAKER}
    assert len(meetings) == sum(NUM_SPEAKERS.values())


def test_labels_are_those_of_the_manifest(small_corpora: MiniCorpora) -> None:
    labels = {Path(row["path"]).stem: row["label"] for row in small_corpora.manifests()["sd"]}
    splits = SD(SD.presets["mini"]).read(data_of(small_corpora))
    read = {
        row["id"]: spans_of_turns(turns_of(row["turns"]))
        for table in splits.values()
        for row in table.to_dict("records")
    }
    assert read.keys() == labels.keys()
    # A manifest numbers speakers by their sources, and a table by their names.
    assert all(sorted(read[name]) == sorted(spans_of_text(label)) for name, label in labels.items())


def test_it_is_loud_where_somebody_speaks(small_corpora: MiniCorpora) -> None:
    ratios = []
    for row in small_corpora.manifests()["sd"]:
        samples, _ = soundfile.read(small_corpora.folder / "sd" / row["path"])
        power = np.square(samples[: len(samples) // 160 * 160]).reshape(-1, 160).mean(axis=1)
        is_speech = np.zeros(len(power), bool)
        for spans in spans_of_text(row["label"]):
            for start, end in spans:
                is_speech[start:end] = True
        ratios.append(power[is_speech].mean() / power[~is_speech].mean())
    assert np.median(ratios) > 3


def test_speech_overlaps_and_pauses(small_corpora: MiniCorpora) -> None:
    """In Libri2Mix, half of the speech of a test mixture is of two speakers."""
    overlap = spoken = 0
    for row in small_corpora.manifests()["sd"]:
        first, second = ({f for a, b in spans for f in range(a, b)} for spans in spans_of_text(row["label"]))
        overlap += len(first & second)
        spoken += len(first | second)
        assert max(first | second) <= 100 * float(row["duration_s"])
        assert len(row["voice"].split()) == len(row["speaker"].split()) == 2
    assert 0.25 < overlap / spoken < 0.65


def test_s3prl_reads_the_folders(small_corpora: MiniCorpora, tmp_path: Path) -> None:
    from tasks.bridge import s3prl_compat

    s3prl_compat.install()
    import s3prl.problem.diarization.util as theirs

    root = data_of(small_corpora).root
    table = SD(SD.presets["mini"]).read(data_of(small_corpora))["test"]
    theirs.kaldi_dir_to_csv(root / "test", tmp_path / "test.csv")
    with (tmp_path / "test.csv").open() as file:
        rows = list(csv.DictReader(file))
    turns = {row["id"]: turns_of(row["turns"]) for row in table.to_dict("records")}
    assert Counter(row["record_id"] for row in rows) == {name: len(spoken) for name, spoken in turns.items()}
    assert (root.parent / rows[0]["wav_path"]).is_file()
    theirs.kaldi_dir_to_rttm(root / "test", tmp_path / "rttm")
    made, written = (
        [line.split()[:8] for line in file.read_text().splitlines()]
        for file in (tmp_path / "rttm", root / "test" / "rttm")
    )
    assert made == written


@pytest.mark.parametrize("split", NUM_SPEAKERS)
def test_no_corpus_is_too_small_for_pairs(split: str) -> None:
    assert [one.split for one in TwoSpeakers().utterances(0, 0.001)].count(split) >= 2
