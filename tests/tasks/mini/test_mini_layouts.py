"""The corpora are what their layouts promise: s3prl's own parsers read them, and their splits are disjoint."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tasks.mini.corpora import CORPORA, MiniCorpora
from tasks.mini.keywords import KEYWORDS, OTHER_WORDS, Keywords
from tasks.mini.mixtures import speakers_of
from tasks.mini.transcripts import TEMPLATES, WORDS, Transcripts
from tasks.mini.utterances import MiniCorpus

UNHEARD = ("sid", "er")
"""Corpora whose voices, training included, compression and pretraining never hear."""


def s3prl_corpora(folder: Path) -> tuple:
    from tasks.bridge import s3prl_compat

    s3prl_compat.install()
    from s3prl.dataio.corpus.librispeech import LibriSpeech
    from s3prl.dataio.corpus.speech_commands import SpeechCommandsV1

    words = SpeechCommandsV1(
        str(folder / "ks" / "speech_commands"), str(folder / "ks" / "speech_commands_test_set"), n_jobs=1
    )
    return words, LibriSpeech(str(folder / "asr" / "LibriSpeech"), n_jobs=1)


class TestReadByS3prl:
    def test_keywords(self, small_corpora: MiniCorpora) -> None:
        words, _ = s3prl_corpora(small_corpora.folder)
        manifest = small_corpora.manifests()["ks"]
        for split, parsed in zip(("train", "dev", "test"), words.data_split, strict=True):
            labels = Counter(clip["class_name"] for clip in parsed.values() if clip["class_name"] != "_silence_")
            expected = Counter(row["label"] for row in manifest if row["split"] == split)
            del expected["_silence_"]
            assert labels == expected
            assert set(labels) == {*KEYWORDS, "_unknown_"}

    def test_transcripts(self, small_corpora: MiniCorpora) -> None:
        _, sentences = s3prl_corpora(small_corpora.folder)
        manifest = {Path(row["path"]).stem: row for row in small_corpora.manifests()["asr"]}
        for split, parsed in zip(("train", "dev", "test"), sentences.data_split, strict=True):
            assert set(parsed) == {name for name, row in manifest.items() if row["split"] == split}
            for name, utterance in parsed.items():
                assert utterance["transcription"] == manifest[name]["text"]
                assert str(utterance["speaker"]) == manifest[name]["speaker"]
                assert utterance["gender"] in {"F", "M"}

    def test_no_test_clip_has_the_name_of_a_training_clip(self) -> None:
        """s3prl keys clips by the last two parts of their paths; a test clip would take the other's place."""
        names = Counter("/".join(Path(utterance.path).parts[-2:]) for utterance in Keywords().utterances(0, 1.0))
        assert max(names.values()) == 1


class TestPlan:
    """Of the corpora in full size, without making a sound."""

    @pytest.fixture(scope="class", params=CORPORA, ids=lambda corpus: corpus.name)
    def utterances(self, request: pytest.FixtureRequest) -> list:
        return request.param.utterances(0, 1.0)

    def test_sizes(self) -> None:
        words = Counter((one.split, one.label) for one in Keywords().utterances(0, 1.0))
        assert {label: words["test", label] for _, label in words} == dict.fromkeys(
            [*KEYWORDS, "_unknown_", "_silence_"], 80
        )
        assert all(words["train", word] == 80 and words["dev", word] == 16 for word in KEYWORDS)
        assert (words["train", "_unknown_"], words["dev", "_unknown_"]) == (200, 40)
        sentences = Counter(one.split for one in Transcripts().utterances(0, 1.0))
        assert sentences == {"train": 800, "dev": 120, "test": 320}

    def test_paths_are_unique(self, utterances: list) -> None:
        assert len({one.path for one in utterances}) == len(utterances)

    def test_speakers_are_in_one_split(self, utterances: list) -> None:
        if utterances[0].path.startswith("VoxCeleb1/"):
            pytest.skip("speakers are to be recognised again")
        splits: dict[str, set[str]] = {}
        for one in utterances:
            for speaker in speakers_of(one):
                splits.setdefault(speaker.name, set()).add(one.split)
        assert all(len(found) == 1 for found in splits.values())

    @pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.name)
    def test_speakers_are_drawn_again_with_another_seed(self, corpus: MiniCorpus) -> None:
        first, second = ({one for u in corpus.utterances(seed, 0.2) for one in speakers_of(u)} for seed in (0, 1))
        assert not first & second

    def test_voices_are_in_one_split_of_all_corpora(self) -> None:
        splits: dict[str, set[str]] = {}
        for corpus in CORPORA:
            for one in corpus.utterances(0, 1.0):
                for speaker in speakers_of(one):
                    share = "test" if corpus.name in UNHEARD or one.split == "documents" else one.split
                    splits.setdefault(speaker.voice.name, set()).add(share)
        assert all(len(found) == 1 for found in splits.values())

    def test_no_sentence_is_said_twice(self) -> None:
        sentences = [one.text for one in Transcripts().utterances(0, 1.0)]
        assert len(set(sentences)) == len(sentences)

    def test_every_word_is_heard_in_training(self) -> None:
        heard: dict[str, set[str]] = {"train": set(), "dev": set(), "test": set()}
        for one in Transcripts().utterances(0, 1.0):
            heard[one.split].update(one.text.split())
        assert heard["train"] >= heard["dev"] | heard["test"]
        assert 70 <= len(heard["train"]) <= 100

    def test_templates_use_every_list_of_words(self) -> None:
        assert all(any(f"{{{slot}}}" in template for template in TEMPLATES) for slot in WORDS)
        assert not set(KEYWORDS) & set(OTHER_WORDS)
