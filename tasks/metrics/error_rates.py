"""Word and character error rates by jiwer, on words split as s3prl splits them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jiwer


class _SplitAtSpaces(jiwer.AbstractTransform):  # type: ignore[misc]
    """Splits words like s3prl: two spaces in a row have an empty word between them."""

    def process_string(self, s: str) -> list[str]:
        return s.split(" ")

    def process_list(self, inp: list[str]) -> list[list[str]]:
        return [self.process_string(text) for text in inp]


class _Characters(_SplitAtSpaces):
    """Splits into characters, including spaces."""

    def process_string(self, s: str) -> list[str]:
        return list(s)


def word_errors(references: Sequence[str], predictions: Sequence[str]) -> dict[str, int]:
    """Count the substitutions, deletions and insertions of the word error rate, and the correct words."""
    words = _SplitAtSpaces()
    found = jiwer.process_words(list(references), list(predictions), words, words)
    return {
        "substitutions": found.substitutions,
        "deletions": found.deletions,
        "insertions": found.insertions,
        "hits": found.hits,
    }


def word_counts(reference: str, prediction: str) -> list[float]:
    """Count the edits and the reference's words: an utterance's contribution to the word error rate."""
    return _edits_by_length(reference, prediction, _SplitAtSpaces())


def character_counts(reference: str, prediction: str) -> list[float]:
    """Count the edits and the reference's characters: an utterance's contribution to the character error rate."""
    return _edits_by_length(reference, prediction, _Characters())


def _edits_by_length(reference: str, prediction: str, split: _SplitAtSpaces) -> list[float]:
    found = jiwer.process_words([reference], [prediction], split, split)
    edits = found.substitutions + found.deletions + found.insertions
    return [edits, found.hits + found.substitutions + found.deletions]


def texts(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the references and the predictions."""
    return [row["reference"] for row in rows], [row["prediction"] for row in rows]
