"""What is odd about a corpus that can be used: each may be meant, and each has cost somebody a result."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from bench.audio.files import SAMPLE_RATE_HZ
from tasks.corpora.librispeech import LibriSpeechData
from tasks.corpora.own_data import ManifestData
from tasks.corpora.splits import SPLITS
from tasks.data_check.duplicates import shared_recordings
from tasks.data_check.report import SplitReport
from tasks.ic import IC
from tasks.sid import SID

SHORTEST_SAMPLES = 400
"""One frame of HuBERT and its kin.

Source: the receptive field of the convolutions, wav2vec 2.0 (arXiv 2006.11477), section 4.2: 25 ms.
"""
STRIDE_SAMPLES = 320
"""Between two frames."""
FEW_IN_DEV = 30
"""One utterance more or less is then over 3 % of the score."""
LONGEST_S = 30.0
"""Longer utterances take memory that others do not need."""
FEW_UTTERANCES = 5
"""A class with fewer of them in train is hardly learned."""
_SHOWN = 3

Tables = Mapping[str, pd.DataFrame]


def remarks(task: str, entry: Any, splits: Sequence[SplitReport], tables: Tables) -> Iterator[str]:
    """Tell what is odd.

    Args:
        task: its name.
        entry: of the task in the data file.
        splits: the sizes.
        tables: the utterances by split: ``train``, ``dev`` and ``test``, or the parts that folds are made of.
    """
    yield from other_size(splits)
    yield from same_recordings(tables)
    if task != SID.name:
        yield from same_speakers(tables)
    yield from lengths(tables)
    if set(SPLITS) <= set(tables):
        yield from classes(task, tables)
        yield from small_dev(tables)
        if not isinstance(entry, ManifestData):  # Its reader has told.
            yield from spelling(tables)
    yield from lost_words(tables)
    yield from long_transcripts(tables)
    if isinstance(entry, LibriSpeechData):
        yield from unterminated_transcripts(tables)


def other_size(splits: Sequence[SplitReport]) -> Iterator[str]:
    """Compare with the real corpus."""
    others = [
        f"{split.num_utterances:,} of {split.known_num_utterances:,} utterances in {split.split}"
        for split in splits
        if split.known_num_utterances not in (None, split.num_utterances)
    ]
    if others:
        yield (
            f"It is not the real corpus: {', '.join(others)}. That is right for data of your own in its layout; "
            "otherwise unpack the archives again."
        )


def same_recordings(tables: Tables) -> Iterator[str]:
    """Find recordings in two splits."""
    for (one, other), pairs in shared_recordings(tables).items():
        first, second = pairs[0]
        what = str(first) if first == second else f"{first} and {second}"
        yield (
            f"{one} and {other} share {_count(len(pairs), 'recording')}, such as {what}: {other} would score what "
            f"was learned by heart. Take them out of one of the two."
        )


def same_speakers(tables: Tables) -> Iterator[str]:
    """Find speakers that are both learned from and scored."""
    pairs = [("train", "test")] if "train" in tables else list(combinations(tables, 2))
    for one, other in pairs:
        if "speaker" not in tables[one] or "speaker" not in tables[other]:
            continue
        speakers = set(tables[other]["speaker"]) - {""}
        if both := sorted(speakers & set(tables[one]["speaker"])):
            yield (
                f"{len(both)} of {_count(len(speakers), 'speaker')} of {other} "
                f"{'is' if len(both) == 1 else 'are'} heard in {one} too ({_some(both)}): scores tell little about "
                "voices that are new."
            )


def lengths(tables: Tables) -> Iterator[str]:
    """Find utterances that are too short for a frame, or very long."""
    for split, table in tables.items():
        short = table[table["num_samples"] < SHORTEST_SAMPLES]
        if not short.empty:
            yield (
                f"{_count(len(short), 'utterance')} of {split} shorter than one frame "
                f"({1000 * SHORTEST_SAMPLES / SAMPLE_RATE_HZ:g} ms): {_some(short['id'])}. Take them out."
            )
        long = table[table["num_samples"] > LONGEST_S * SAMPLE_RATE_HZ]
        if not long.empty:
            longest_s = long["num_samples"].max() / SAMPLE_RATE_HZ
            yield (
                f"{_count(len(long), 'utterance')} of {split} longer than {LONGEST_S:g} s, up to {longest_s:.0f} s: "
                "memory follows the longest. Where it runs short, cut them, or set max_duration_s of the task."
            )


def classes(task: str, tables: Tables) -> Iterator[str]:
    """Find classes that train has little of, and those that dev or test do not ask for."""
    counts = {split: _classes(task, table) for split, table in tables.items()}
    if rare := sorted(name for name, count in counts["train"].items() if count < FEW_UTTERANCES):
        yield (
            f"{_count(len(rare), 'class', 'classes')} with fewer than {FEW_UTTERANCES} utterances in train: "
            f"{_some(rare)}. Add some, or expect them to be missed."
        )
    for split in ("dev", "test"):
        if untested := sorted(set(counts["train"]) - set(counts[split])):
            yield (
                f"{_count(len(untested), 'class', 'classes')} of {len(counts['train'])} without an utterance in "
                f"{split}: {_some(untested)}. Its score says nothing about them."
            )


def small_dev(tables: Tables) -> Iterator[str]:
    """Find dev sets on which heads and learning rates differ by chance."""
    count = len(tables["dev"])
    if count < FEW_IN_DEV:
        yield (
            f"{_count(count, 'utterance')} in dev: too few to choose the best head or learning rate by, since one "
            f"utterance is {1 / max(1, count):.1%} of the score. Use at least {FEW_IN_DEV}."
        )


def long_transcripts(tables: Tables) -> Iterator[str]:
    """Find transcripts that CTC cannot align: it needs a frame a sign, and one between two equal signs."""
    for split, table in tables.items():
        if not _is_transcribed(table):
            continue
        # Phones are learned as they stand between spaces, words letter by letter.
        texts = [text.split() if "text" in table else text for text in table["transcription"]]
        frames = (table["num_samples"] - SHORTEST_SAMPLES) // STRIDE_SAMPLES + 1
        signs = [len(text) + sum(one == other for one, other in pairwise(text)) for text in texts]
        if not (long := table[frames < signs]).empty:
            yield (
                f"{_count(len(long), 'transcript')} of {split} longer than the audio can carry: {_some(long['id'])}. "
                "CTC needs a frame of 20 ms for every sign, and the loss of these is left out. Correct the texts, or "
                "check that they belong to the audio."
            )


def spelling(tables: Tables) -> Iterator[str]:
    """Find texts whose letters no training text has: other case, other language, punctuation."""
    texts = {split: "".join(table["transcription"]) for split, table in tables.items() if _is_transcribed(table)}
    if set(texts) != set(tables):
        return
    for split in ("dev", "test"):
        if unseen := sorted(set(texts[split]) - set(texts["train"])):
            other_case = all(sign.swapcase() in texts["train"] for sign in unseen)
            yield (
                f"Texts of {split} have signs that no text of train has: {' '.join(unseen)}. None of them will be "
                f"recognised. Spell all splits {'in one case' if other_case else 'alike'}."
            )


def lost_words(tables: Tables) -> Iterator[str]:
    """Find texts and labels that tables commonly take for missing values, as s3prl's do."""
    found = sorted({value for table in tables.values() for value in _taken_for_missing(table)})
    if found:
        yield (
            f"Texts or labels that s3prl run by itself takes for missing values: {_some(found)}. Here they are the "
            "words they are; nothing to do."
        )


def unterminated_transcripts(tables: Tables) -> Iterator[str]:
    """Find transcripts whose last line has no end."""
    chapters = {Path(path).parent for table in tables.values() for path in table["wav_path"]}
    files = sorted(file for chapter in chapters for file in chapter.glob("*.trans.txt"))
    if unterminated := [str(file) for file in files if not file.read_bytes().endswith(b"\n")]:
        yield (
            f"{_count(len(unterminated), 'transcript')} without a newline at the end ({unterminated[0]}): s3prl run "
            "by itself cuts off the last letter. Here they are read whole; nothing to do."
        )


def _is_transcribed(table: pd.DataFrame) -> bool:
    """Whether texts are what is learned, and not something that is known besides."""
    return "transcription" in table and not {"label", "labels"} & set(table.columns)


def _classes(task: str, table: pd.DataFrame) -> Counter[str]:
    if "label" in table:
        return Counter(table["label"])
    if task == IC.name:
        return Counter(value for labels in table["labels"] for value in labels.split(" ; "))
    return Counter()


def _taken_for_missing(table: pd.DataFrame) -> list[str]:
    for column in ("transcription", "label"):
        if column in table:
            values = pd.Series(table[column].unique(), name="value")
            returned = pd.read_csv(io.StringIO(values.to_csv(index=False)))["value"]
            return [str(value) for value in values[returned.isna()]]
    return []


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"


def _some(values: Collection[str]) -> str:
    shown = [str(value) for value in values][:_SHOWN]
    return ", ".join(shown) + (", ..." if len(values) > _SHOWN else "")
