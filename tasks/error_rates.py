"""Word and character error rates by jiwer, on words split as s3prl splits them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jiwer


class SplitAtSpaces(jiwer.AbstractTransform):  # type: ignore[misc]
    """Words as s3prl counts them: two spaces in a row have an empty word between them."""

    def process_string(self, s: str) -> list[str]:
        return s.split(" ")

    def process_list(self, inp: list[str]) -> list[list[str]]:
        return [self.process_string(text) for text in inp]


class SplitIntoCharacters(SplitAtSpaces):
    """Every character counts, spaces too."""

    def process_string(self, s: str) -> list[str]:
        return list(s)


def error_rates(references: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    """Compute word and character error rate over a whole set: edits by reference words, and by characters.

    Texts are taken as they are: no normalisation, spaces count as characters, as in s3prl.
    """
    words, characters = SplitAtSpaces(), SplitIntoCharacters()
    return {
        "wer": jiwer.wer(list(references), list(predictions), words, words),
        "cer": jiwer.cer(list(references), list(predictions), characters, characters),
    }


def word_errors(references: Sequence[str], predictions: Sequence[str]) -> dict[str, int]:
    """Count the substitutions, deletions and insertions that make up the word error rate, and the words said right."""
    words = SplitAtSpaces()
    found = jiwer.process_words(list(references), list(predictions), words, words)
    return {
        "substitutions": found.substitutions,
        "deletions": found.deletions,
        "insertions": found.insertions,
        "hits": found.hits,
    }


def texts(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Part predictions into references and what was recognised."""
    return [row["reference"] for row in rows], [row["prediction"] for row in rows]
