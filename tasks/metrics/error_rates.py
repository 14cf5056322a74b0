"""Word and character error rates by jiwer, on words split as s3prl splits them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jiwer


class _SplitAtSpaces(jiwer.AbstractTransform):  # type: ignore[misc]
    """Words as s3prl counts them: two spaces in a row have an empty word between them."""

    def process_string(self, s: str) -> list[str]:
        return s.split(" ")

    def process_list(self, inp: list[str]) -> list[list[str]]:
        return [self.process_string(text) for text in inp]


class _Characters(_SplitAtSpaces):
    """Every character counts, spaces too."""

    def process_string(self, s: str) -> list[str]:
        return list(s)


def word_errors(references: Sequence[str], predictions: Sequence[str]) -> dict[str, int]:
    """Count the substitutions, deletions and insertions that make up the word error rate, and the words said right."""
    words = _SplitAtSpaces()
    found = jiwer.process_words(list(references), list(predictions), words, words)
    return {
        "substitutions": found.substitutions,
        "deletions": found.deletions,
        "insertions": found.insertions,
        "hits": found.hits,
    }


def word_counts(reference: str, prediction: str) -> list[float]:
    """Count the edits and the reference's words: an utterance's share of a word error rate."""
    return _edits_by_length(reference, prediction, _SplitAtSpaces())


def character_counts(reference: str, prediction: str) -> list[float]:
    """Count the edits and the reference's characters: an utterance's share of a character error rate."""
    return _edits_by_length(reference, prediction, _Characters())


def _edits_by_length(reference: str, prediction: str, split: _SplitAtSpaces) -> list[float]:
    found = jiwer.process_words([reference], [prediction], split, split)
    edits = found.substitutions + found.deletions + found.insertions
    return [edits, found.hits + found.substitutions + found.deletions]


def texts(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Part predictions into references and what was recognised."""
    return [row["reference"] for row in rows], [row["prediction"] for row in rows]
