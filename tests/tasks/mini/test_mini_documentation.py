"""The corpora have the sizes that docs/embedded.md gives."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tasks.mini.corpora import CORPORA
from tasks.mini.mixtures import speakers_of
from tasks.mini.utterances import MiniCorpus, Utterance

PAGE = Path(__file__).parents[3] / "docs" / "embedded.md"
SPLITS = ("train", "dev", "test")


def documented() -> dict[str, dict[str, str]]:
    """Read the table of the corpora: task, then heading, to what its cell says."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("| task | layout |"))
    headings, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[head : head + 11])
    return {row[0].lower(): dict(zip(headings, row, strict=True)) for row in rows}


def numbers(text: str) -> list[int]:
    return [int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*", text)]


def plan(name: str) -> list[Utterance]:
    """List the recordings of a corpus in full size, without making a sound."""
    corpus: MiniCorpus = next(one for one in CORPORA if one.name == name)
    return corpus.utterances(0, 1.0)


def by_split(utterances: list[Utterance]) -> list[int]:
    counts = Counter(one.split for one in utterances)
    return [counts.pop(split) for split in SPLITS] + list(counts.values())


def speakers_by_split(utterances: list[Utterance]) -> list[int]:
    speakers = {(one.split, speaker.name) for one in utterances for speaker in speakers_of(one)}
    return [sum(split == wanted for split, _ in speakers) for wanted in SPLITS]


def test_every_corpus_is_there() -> None:
    assert set(documented()) == {corpus.name for corpus in CORPORA}


@pytest.mark.parametrize("name", ["asr", "asv", "ic", "sd", "sf"])
def test_utterances_and_speakers(name: str) -> None:
    utterances = plan(name)
    told = documented()[name]
    assert by_split(utterances) == numbers(told["train / dev / test utterances"])
    assert speakers_by_split(utterances) == numbers(told["speakers"])


def test_keywords() -> None:
    clips = [one for one in plan("ks") if "_background_noise_" not in one.path]
    noises = [one for one in plan("ks") if "_background_noise_" in one.path]
    told = documented()["ks"]
    assert [*by_split(clips), len(noises)] == numbers(told["train / dev / test utterances"])
    assert speakers_by_split(clips) == numbers(told["speakers"])
    labels = {one.label for one in clips}
    other_words = {one.text for one in clips if one.label == "_unknown_"}
    assert [len(labels - {"_unknown_", "_silence_"}), len(other_words)] == numbers(told["content"])[:2]


def test_speaker_identities() -> None:
    utterances = plan("sid")
    told = documented()["sid"]
    assert by_split(utterances) == numbers(told["train / dev / test utterances"])
    assert [len({one.label for one in utterances})] == numbers(told["speakers"]) == numbers(told["content"])
    assert set(speakers_by_split(utterances)) == {*numbers(told["speakers"])}


def test_emotions() -> None:
    utterances = plan("er")
    kept = [one for one in utterances if one.label in {"neu", "hap", "ang", "sad"}]
    told = documented()["er"]
    assert [len(kept)] == numbers(told["train / dev / test utterances"])
    assert [len(utterances) - len(kept)] == numbers(told["content"])
    speakers = {(one.split, one.speaker.name) for one in utterances if one.speaker}
    assert {*Counter(split for split, _ in speakers).values()} == {*numbers(told["speakers"])}
    assert len({split for split, _ in speakers}) == 5


def test_words_of_sentences() -> None:
    words = {word for one in plan("asr") for word in one.text.split()}
    assert [len(words)] == numbers(documented()["asr"]["content"])


def test_intents() -> None:
    assert [len({one.label for one in plan("ic")})] == numbers(documented()["ic"]["content"])


def test_queries() -> None:
    utterances, told = plan("qbe"), documented()["qbe"]
    parts = ("documents", "dev", "test")
    assert [sum(one.split == part for one in utterances) for part in parts] == numbers(
        told["train / dev / test utterances"]
    )
    speakers = {(one.split, one.speaker.name) for one in utterances if one.speaker}
    assert [sum(split == part for split, _ in speakers) for part in parts] == numbers(told["speakers"])
    terms = {one.text for one in utterances if one.split != "documents"}
    holding = [sum(f" {term} " in f" {one.text} " for one in utterances if one.split == "documents") for term in terms]
    assert [len(terms), 20, 200] == numbers(told["content"])
    assert set(holding) <= {19, 20}
