"""Phoneme recognition: pronunciations and recipe as s3prl's, the lexicon a file of the data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.config.data import task_entry
from bench.contracts import Context
from bench.errors import UserError
from tasks.bridge import s3prl_compat
from tasks.corpora.librispeech import LibriSpeechData
from tasks.corpora.pronunciations import read_lexicon
from tasks.mini.corpora import MiniCorpora
from tasks.pr import PR, PRLibriSpeechData

# Words of the corpus of tones, and some traps: two pronunciations, small letters, tabs, an empty line, no end.
TONES = "NULL N AH1 L\nA\tAH0\nA EY1\nCAB K AE1 B\nNAN\tN AE1 N\nbad B AE1 D\n\nDAD D AE1 D\nNA N AA1"
DIGITS = """ZERO Z IH1 R OW0
ZERO Z IY1 R OW0
ONE W AH1 N
TWO T UW1
THREE TH R IY1
FOUR F AO1 R
FIVE F AY1 V
SIX S IH1 K S
SEVEN S EH1 V AH0 N
EIGHT EY1 T
NINE N AY1 N
"""


@pytest.fixture
def pronounced_tones(librispeech: LibriSpeechData, tmp_path: Path) -> PRLibriSpeechData:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text(TONES)
    return PRLibriSpeechData(root=librispeech.root, lexicon=lexicon)


@pytest.fixture
def real_digits(real_speech: Path, tmp_path: Path) -> PRLibriSpeechData:
    lexicon = tmp_path / "digits.txt"
    lexicon.write_text(DIGITS)
    return PRLibriSpeechData(root=real_speech / "librispeech", lexicon=lexicon)


class TestPronunciations:
    @pytest.mark.real_speech
    def test_phones_are_those_of_s3prl(self, real_digits: PRLibriSpeechData) -> None:
        s3prl_compat.install()
        from s3prl.dataio.encoder.g2p import G2P

        theirs = G2P([str(real_digits.lexicon)])
        for table in PR(PR.presets["paper"]).read(real_digits).values():
            assert table["transcription"].tolist() == [theirs.encode(text) for text in table["text"]]

    def test_the_first_of_several_is_taken(self, pronounced_tones: PRLibriSpeechData) -> None:
        assert read_lexicon(pronounced_tones.lexicon) == {
            "NULL": "N AH1 L",
            "A": "AH0",
            "CAB": "K AE1 B",
            "NAN": "N AE1 N",
            "BAD": "B AE1 D",
            "DAD": "D AE1 D",
            "NA": "N AA1",
        }

    @pytest.mark.parametrize(
        ("lexicon", "told"),
        [
            (None, "Found no file at .*lexicon.txt. LibriSpeech's are .*join them"),
            (TONES.replace("DAD D AE1 D\n", ""), "Found none of DAD. Add lines"),
            ("NULL N AH1 L\n", "Found none of A, BAD, CAB, DAD, NA and 1 others"),
            (TONES + "\nDAD", "Expected phones after DAD in line 10 of .*lexicon.txt"),
        ],
    )
    def test_a_wanting_lexicon_is_told_in_one_line(
        self, pronounced_tones: PRLibriSpeechData, lexicon: str | None, told: str
    ) -> None:
        task = PR(PR.presets["paper"])
        task.check(pronounced_tones)
        if lexicon is None:
            pronounced_tones.lexicon.unlink()
        else:
            pronounced_tones.lexicon.write_text(lexicon)
        with pytest.raises(UserError, match=told) as caught:
            task.check(pronounced_tones)
        assert "\n" not in str(caught.value)

    def test_an_entry_without_lexicon_is_refused(self) -> None:
        with pytest.raises(UserError, match=re.escape("the data x, tasks.pr: lexicon is missing")):
            task_entry(PR, {"layout": "librispeech", "root": "LibriSpeech"}, "the data x, tasks.pr")


class TestRecipe:
    def test_paper_is_the_recipe(self) -> None:
        from tasks.bridge.run import run_arguments

        default = s3prl_compat.recipe_class("s3prl.problem.asr.superb_pr", "SuperbPR")().default_config()
        ours = run_arguments(default, PR.presets["paper"].recipe_arguments(), Context())
        for name in ("build_tokenizer", "build_featurizer", "build_downstream", "build_task"):
            assert json.dumps(ours[name]) == json.dumps(default[name])
        assert ours["train"] == {**default["train"], "seed": 0}
        assert ours["build_batch_sampler"]["train"] == {"batch_size": 16, "max_length": 300_000, "seed": 12345678}

    @pytest.mark.parametrize("protocol", ["cached", "s3prl"])
    def test_per_is_that_of_s3prl(
        self, protocol: Any, pronounced_tones: PRLibriSpeechData, upstream: Any, tmp_path: Path
    ) -> None:
        config = PR.presets["smoke"].model_copy(update={"total_steps": 30, "eval_interval_steps": 30})
        done = PR(config).evaluate(upstream, pronounced_tones, tmp_path / "work", Context(protocol=protocol))
        for split, scores in done.scores.items():
            assert scores == {"per": pytest.approx(done.settings[f"{split}_recipe_metrics"]["per"])}
            rows = [row for row in done.predictions if row["split"] == split]
            assert scores["per"] == pytest.approx(
                sum(row["counts"]["per"][0] for row in rows) / sum(row["counts"]["per"][1] for row in rows)
            )
        assert {row["text"] for row in done.predictions} == {"NULL", "A CAB", "NAN", "BAD DAD", "NA", "CAB"}
        assert next(row for row in done.predictions if row["text"] == "A CAB")["reference"] == "AH0 K AE1 B"

    @pytest.mark.real_speech
    @pytest.mark.slow
    def test_learns_from_real_speech(self, real_digits: PRLibriSpeechData, log_mel: Any, tmp_path: Path) -> None:
        """Energies tell some sounds apart: fewer errors than by saying nothing, which is 1."""
        config = PR.presets["smoke"].model_copy(
            update={
                "total_steps": 300,
                "batch_size": 16,
                "eval_interval_steps": 100,
                "eval_batch_size": 8,
                "max_train_utterances": None,
                "max_eval_utterances": None,
            }
        )
        done = PR(config).evaluate(log_mel, real_digits, tmp_path / "work", Context())
        assert done.scores["test"]["per"] < 0.9


def test_the_embedded_corpora_bring_a_lexicon(tmp_path: Path) -> None:
    data = MiniCorpora(tmp_path).data()
    assert data.tasks["pr"] == {**data.tasks["asr"], "lexicon": tmp_path / "asr" / "LibriSpeech" / "lexicon.txt"}
