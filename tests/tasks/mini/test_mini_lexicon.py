"""The ASR corpus brings the pronunciations that phoneme recognition needs."""

from __future__ import annotations

import csv

from tasks.mini.corpora import MiniCorpora
from tasks.mini.lexicon import PRONUNCIATIONS
from tasks.mini.transcripts import Transcripts


def spoken_words() -> set[str]:
    return {word for one in Transcripts().utterances(0, 1.0) for word in one.text.split()}


def test_every_word_that_is_said_and_no_other_has_a_pronunciation() -> None:
    assert {word.upper() for word in PRONUNCIATIONS} == spoken_words()


def test_the_words_are_in_the_alphabets_order() -> None:
    assert list(PRONUNCIATIONS) == sorted(PRONUNCIATIONS)


def test_s3prl_knows_every_phoneme() -> None:
    from tasks.bridge import s3prl_compat

    s3prl_compat.install()
    from s3prl.dataio.encoder.tokenizer import PHONEME_VOCAB

    phonemes = {phoneme for phonemes in PRONUNCIATIONS.values() for phoneme in phonemes.split(" ")}
    assert phonemes <= set(PHONEME_VOCAB)
    # All of American English but two sounds, so that a phoneme recogniser has something to tell apart.
    assert {phoneme.rstrip("012") for phoneme in PHONEME_VOCAB} - {p.rstrip("012") for p in phonemes} == {
        "SIL",
        "SPN",
        "OY",
        "ZH",
    }


def test_every_word_has_one_main_stress_unless_it_has_none() -> None:
    for word, phonemes in PRONUNCIATIONS.items():
        assert phonemes.count("1") == (word != "the"), word


def test_s3prls_grapheme_to_phoneme_conversion_reads_the_file(small_corpora: MiniCorpora) -> None:
    from tasks.bridge import s3prl_compat

    s3prl_compat.install()
    from s3prl.dataio.encoder.g2p import G2P

    archive = small_corpora.folder / "asr"
    converter = G2P(file_list=[str(archive / "LibriSpeech" / "lexicon.txt")])
    assert converter.encode("who painted the chair") == "HH UW1 P EY1 N T AH0 D DH AH0 CH EH1 R"
    with (archive / "manifest.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            assert len(converter.encode(row["text"]).split()) > len(row["text"].split())
