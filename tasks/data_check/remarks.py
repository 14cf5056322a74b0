"""Remarks on usable corpora: possible mistakes that have spoilt results before, but may be intended."""

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
from tasks.corpora.speaker_turns import speakers_of, turns_of
from tasks.corpora.splits import SPLITS
from tasks.data_check.duplicates import shared_recordings
from tasks.data_check.report import SplitReport
from tasks.ic import IC
from tasks.sid import SID

SHORTEST_SAMPLES = 400
"""One frame of HuBERT and similar models.

Source: the receptive field of the convolutions, wav2vec 2.0 (arXiv 2006.11477), section 4.2: 25 ms.
"""
STRIDE_SAMPLES = 320
"""Samples between two frames."""
FEW_IN_DEV = 30
"""In a smaller dev set, one utterance changes the score by over 3 %."""
LONGEST_S = 30.0
"""Longer utterances need much more memory than others."""
FEW_UTTERANCES = 5
"""A class with fewer training utterances is hardly learned."""
_SHOWN = 3

Tables = Mapping[str, pd.DataFrame]


def remarks(task: str, entry: Any, splits: Sequence[SplitReport], tables: Tables) -> Iterator[str]:
    """Run all checks.

    Args:
        task: the task's name.
        entry: the task's entry in the data file.
        splits: the sizes.
        tables: the utterances by split: ``train``, ``dev`` and ``test``, or the sessions of folds.
    """
    yield from other_size(splits)
    yield from same_recordings(tables)
    if task != SID.name:
        yield from same_speakers(tables)
    yield from lengths(tables)
    if set(SPLITS) <= set(tables):
        yield from classes(task, tables)
        yield from small_dev(tables)
        if not isinstance(entry, ManifestData):  # The reader of manifests warns itself.
            yield from spelling(tables)
    yield from lost_words(tables)
    yield from long_transcripts(tables)
    if isinstance(entry, LibriSpeechData):
        yield from unterminated_transcripts(tables)


def other_size(splits: Sequence[SplitReport]) -> Iterator[str]:
    """Compare the sizes with the real corpus."""
    others = [
        f"{split.num_utterances:,} of {split.known_num_utterances:,} utterances in {split.split}"
        for split in splits
        if split.known_num_utterances not in (None, split.num_utterances)
    ]
    if others:
        yield (
            f"It is not the real corpus: {', '.join(others)}. Ignore this for your own data in its layout; otherwise "
            "unpack the archives again."
        )


def same_recordings(tables: Tables) -> Iterator[str]:
    """Find recordings in two splits."""
    for (one, other), pairs in shared_recordings(tables).items():
        first, second = pairs[0]
        what = str(first) if first == second else f"{first} and {second}"
        yield (
            f"{one} and {other} share {_count(len(pairs), 'recording')}, such as {what}: scores on {other} would "
            f"reward memorising. Remove them from one of the two."
        )


def same_speakers(tables: Tables) -> Iterator[str]:
    """Find speakers that are in both train and test."""
    pairs = [("train", "test")] if "train" in tables else list(combinations(tables, 2))
    for one, other in pairs:
        speakers = _speakers(tables[other])
        if both := sorted(speakers & _speakers(tables[one])):
            yield (
                f"{len(both)} of {_count(len(speakers), 'speaker')} of {other} "
                f"{'is' if len(both) == 1 else 'are'} in {one} too ({_some(both)}): scores say little about new "
                "speakers."
            )


def lengths(tables: Tables) -> Iterator[str]:
    """Find utterances that are shorter than a frame, or very long."""
    for split, table in tables.items():
        short = table[table["num_samples"] < SHORTEST_SAMPLES]
        if not short.empty:
            yield (
                f"{_count(len(short), 'utterance')} of {split} shorter than one frame "
                f"({1000 * SHORTEST_SAMPLES / SAMPLE_RATE_HZ:g} ms): {_some(short['id'])}. Remove them."
            )
        long = table[table["num_samples"] > LONGEST_S * SAMPLE_RATE_HZ]
        if not long.empty:
            longest_s = long["num_samples"].max() / SAMPLE_RATE_HZ
            yield (
                f"{_count(len(long), 'utterance')} of {split} longer than {LONGEST_S:g} s, up to {longest_s:.0f} s: "
                "the longest one decides how much memory is needed. If memory is short, cut them, or set the task's "
                "max_duration_s."
            )


def classes(task: str, tables: Tables) -> Iterator[str]:
    """Find classes that are rare in train, or missing in dev or test."""
    counts = {split: _classes(task, table) for split, table in tables.items()}
    if rare := sorted(name for name, count in counts["train"].items() if count < FEW_UTTERANCES):
        yield (
            f"{_count(len(rare), 'class', 'classes')} with fewer than {FEW_UTTERANCES} utterances in train: "
            f"{_some(rare)}. Add utterances, or expect errors on them."
        )
    for split in ("dev", "test"):
        if untested := sorted(set(counts["train"]) - set(counts[split])):
            yield (
                f"{_count(len(untested), 'class', 'classes')} of {len(counts['train'])} without an utterance in "
                f"{split}: {_some(untested)}. Its score says nothing about them."
            )


def small_dev(tables: Tables) -> Iterator[str]:
    """Find dev sets that are too small to select heads and learning rates."""
    count = len(tables["dev"])
    if count < FEW_IN_DEV:
        yield (
            f"{_count(count, 'utterance')} in dev: too few to select the best head or learning rate. One utterance "
            f"is {1 / max(1, count):.1%} of the score. Use at least {FEW_IN_DEV}."
        )


def long_transcripts(tables: Tables) -> Iterator[str]:
    """Find transcripts that CTC cannot align: it needs a frame per symbol, and one between two equal symbols."""
    for split, table in tables.items():
        if not _is_transcribed(table):
            continue
        # Phones are separated by spaces; words are split into letters.
        texts = [text.split() if "text" in table else text for text in table["transcription"]]
        frames = (table["num_samples"] - SHORTEST_SAMPLES) // STRIDE_SAMPLES + 1
        needed = [len(text) + sum(one == other for one, other in pairwise(text)) for text in texts]
        if not (long := table[frames < needed]).empty:
            yield (
                f"{_count(len(long), 'transcript')} of {split} too long for the audio: {_some(long['id'])}. CTC needs "
                "a frame of 20 ms per symbol, and training ignores the loss of these. Correct the texts, or check that "
                "they belong to the audio."
            )


def spelling(tables: Tables) -> Iterator[str]:
    """Find characters that no training text has: other case, other language, punctuation."""
    texts = {split: "".join(table["transcription"]) for split, table in tables.items() if _is_transcribed(table)}
    if set(texts) != set(tables):
        return
    for split in ("dev", "test"):
        if unseen := sorted(set(texts[split]) - set(texts["train"])):
            other_case = all(character.swapcase() in texts["train"] for character in unseen)
            yield (
                f"Texts of {split} have characters that no text of train has: {' '.join(unseen)}. None of them will be "
                f"recognised. Spell all splits {'in one case' if other_case else 'alike'}."
            )


def lost_words(tables: Tables) -> Iterator[str]:
    """Find texts and labels that pandas, and so s3prl, reads as missing values."""
    found = sorted({value for table in tables.values() for value in _taken_for_missing(table)})
    if found:
        yield (
            f"Plain s3prl reads these texts or labels as missing values: {_some(found)}. This suite reads them as "
            "words; nothing to do."
        )


def unterminated_transcripts(tables: Tables) -> Iterator[str]:
    """Find transcripts without a newline at the end."""
    chapters = {Path(path).parent for table in tables.values() for path in table["wav_path"]}
    files = sorted(file for chapter in chapters for file in chapter.glob("*.trans.txt"))
    if unterminated := [str(file) for file in files if not file.read_bytes().endswith(b"\n")]:
        yield (
            f"{_count(len(unterminated), 'transcript')} without a newline at the end ({unterminated[0]}): plain s3prl "
            "cuts off the last letter. This suite reads them completely; nothing to do."
        )


def _is_transcribed(table: pd.DataFrame) -> bool:
    """Return whether the task trains on the texts."""
    return "transcription" in table and not {"label", "labels"} & set(table.columns)


def _speakers(table: pd.DataFrame) -> set[str]:
    """Return the speakers of a table; empty if it does not name any."""
    if "turns" in table:
        return {name for cell in table["turns"] for name in speakers_of(turns_of(cell))}
    return set(table["speaker"]) - {""} if "speaker" in table else set()


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
