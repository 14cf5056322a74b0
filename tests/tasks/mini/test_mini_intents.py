"""The IC corpus: Fluent Speech Commands' layout, every intent in training, no word that gives one away."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from tasks.bridge import s3prl_compat
from tasks.corpora.fluent_speech_commands import FluentSpeechCommandsData, read_fluent_speech_commands
from tasks.mini.corpora import MiniCorpora
from tasks.mini.intents import INTENTS, WORDINGS, Intents
from tasks.mini.utterances import Utterance

SPLITS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def commands() -> list[Utterance]:
    """The corpus in full size, without a sound."""
    return Intents().utterances(0, 1.0)


class TestOnDisk:
    def test_s3prl_and_we_read_the_same(self, small_corpora: MiniCorpora, monkeypatch: pytest.MonkeyPatch) -> None:
        s3prl_compat.install()
        from s3prl.dataio.corpus import fluent_speech_commands

        monkeypatch.setattr(pd.Series, "iteritems", pd.Series.items, raising=False)
        monkeypatch.setattr(fluent_speech_commands, "pd", SimpleNamespace(read_csv=s3prl_compat.read_csv))
        data = FluentSpeechCommandsData.model_validate(small_corpora.data().tasks["ic"])
        theirs = fluent_speech_commands.FluentSpeechCommands(str(data.root)).data_split
        ours = read_fluent_speech_commands(data)
        manifest = small_corpora.manifests()["ic"]
        for split, parsed in zip(SPLITS, theirs, strict=True):
            expected = {Path(row["path"]).stem: row for row in manifest if row["split"] == split}
            table = ours[split].set_index("id")
            assert set(parsed) == set(table.index) == set(expected)
            for name, row in expected.items():
                one = parsed[name]
                assert f"{one['action']}|{one['object']}|{one['location']}" == row["label"]
                assert table.loc[name, "labels"].split(" ; ") == row["label"].split("|")
                assert one["transcription"] == table.loc[name, "transcription"] == row["text"]
                assert one["speakerId"] == table.loc[name, "speaker"] == row["speaker"]
                assert str(one["path"]) == table.loc[name, "wav_path"] == str(data.root / row["path"])
                assert table.loc[name, "num_samples"] == pytest.approx(float(row["duration_s"]) * 16_000, abs=1)


class TestPlan:
    def test_sizes(self, commands: list[Utterance]) -> None:
        assert Counter(one.split for one in commands) == {"train": 900, "dev": 160, "test": 1120}
        speakers = {(one.split, one.speaker) for one in commands}
        assert Counter(split for split, _ in speakers) == {"train": 45, "dev": 8, "test": 80}

    def test_every_intent_is_in_every_split_about_equally_often(self, commands: list[Utterance]) -> None:
        counts = {split: Counter(one.label for one in commands if one.split == split) for split in ("train", "test")}
        assert all(len(count) == len(INTENTS) == 48 for count in counts.values())
        assert all(8 <= number <= 40 for count in counts.values() for number in count.values())

    def test_a_speaker_gives_a_command_once(self, commands: list[Utterance]) -> None:
        given = Counter((one.speaker, one.label) for one in commands)
        assert set(given.values()) == {1}

    def test_the_words_name_object_and_place(self, commands: list[Utterance]) -> None:
        for one in commands:
            _, thing, place = one.label.split("|")
            words = one.text.lower().split()
            assert {"fan", "heating", "lights", "radio"} & {*words} == {thing}
            assert {"kitchen", "bedroom"} & {*words} == {place} - {"none"}

    def test_no_word_is_in_all_wordings_of_an_action_and_in_no_others(self) -> None:
        for action, wordings in WORDINGS.items():
            common = set.intersection(*({*wording.split()} for wording in wordings))
            elsewhere = {
                word for other in WORDINGS if other != action for wording in WORDINGS[other] for word in wording.split()
            }
            assert common <= elsewhere, action

    def test_commands_are_the_same_at_any_scale(self, commands: list[Utterance]) -> None:
        known = {one.path: (one.text, one.label, one.delivery, one.scene) for one in commands}
        for one in Intents().utterances(0, 0.1):
            assert known[one.path] == (one.text, one.label, one.delivery, one.scene)
