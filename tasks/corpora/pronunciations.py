"""Pronunciations: a lexicon of words and their phones, like LibriSpeech's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from bench.errors import UserError
from bench.text import shortened
from tasks.corpora.text_files import read_text

FEW = 5


def read_lexicon(file: Path) -> dict[str, str]:
    """Read a lexicon: one line per word with its phones, separated by white space.

    Words are converted to upper case. The first of several pronunciations is used.

    Source: s3prl 0.4.18, ``s3prl.dataio.encoder.g2p``.

    Raises:
        UserError: the file is missing, or a word has no phones.
    """
    if not file.is_file():
        raise UserError(
            f"Expected a lexicon, one line `WORD PHONE PHONE ...` per word. Found no file at {file}. LibriSpeech's "
            "are librispeech-lexicon-200k-g2p.txt and librispeech-lexicon-allothers-g2p.txt of "
            "huggingface.co/datasets/s3prl/g2p: join them to one file, or correct lexicon in the data file."
        )
    pronunciations: dict[str, str] = {}
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        word, *phones = line.split() or [""]
        if word and not phones:
            raise UserError(
                f"Expected phones after {shortened(word)} in line {number} of {file}. Found none. Add or remove it."
            )
        if word:
            pronunciations.setdefault(word.upper(), " ".join(phones))
    return pronunciations


def pronounced(splits: Mapping[str, pd.DataFrame], lexicon: Path) -> dict[str, pd.DataFrame]:
    """Convert transcriptions to phones, and keep the words in the column ``text``.

    Raises:
        UserError: the lexicon or some of its words are missing.
    """
    pronunciations = read_lexicon(lexicon)
    words = [text.upper().split() for table in splits.values() for text in table["transcription"]]
    _check_known((word for text in words for word in text), pronunciations, lexicon)
    return {
        split: table.assign(
            text=table["transcription"],
            transcription=[
                " ".join(pronunciations[word] for word in text.upper().split()) for text in table["transcription"]
            ],
        )
        for split, table in splits.items()
    }


def _check_known(words: Iterable[str], pronunciations: Mapping[str, str], lexicon: Path) -> None:
    if unknown := sorted(set(words) - set(pronunciations)):
        others = f" and {len(unknown) - FEW} others" if len(unknown) > FEW else ""
        raise UserError(
            f"Expected a pronunciation of every word in {lexicon}. Found none of "
            f"{shortened(', '.join(unknown[:FEW]))}{others}. "
            "Add lines `WORD PHONE PHONE ...`, or write the texts as plain words, without punctuation and figures."
        )
