"""Query by example: the corpus, hostile files, limits, the choice of the hidden state, and seeds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from bench.contracts import Context, Evaluation
from bench.errors import UserError
from tasks.bridge import s3prl_compat
from tasks.commands import data
from tasks.corpora.queries import DOCUMENTS, matches_of
from tasks.corpora.quesst14 import ManifestQueriesData, Quesst14Data
from tasks.metrics.term_weighted_value import FALSE_ALARM_WEIGHT
from tasks.qbe import QbE, QbEConfig

WORDS = ("one", "two", "three")
OTHERS = ("four", "five")
"""Words that are in every document."""


def spoken(*words: str, sample_rate_hz: int = 8_000) -> np.ndarray:
    """Each word is eight short tones, always the same."""
    tones = []
    for word in words:
        for pitch_hz in np.random.default_rng(list(word.encode())).uniform(200, 3_000, 8):
            tones.append(0.3 * np.sin(2 * np.pi * pitch_hz * np.arange(0.06 * sample_rate_hz) / sample_rate_hz))
    return np.concatenate(tones)


def write_words(path: Path, *words: str, sample_rate_hz: int = 8_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, spoken(*words, sample_rate_hz=sample_rate_hz), sample_rate_hz)


@pytest.fixture
def corpus(tmp_path: Path) -> Quesst14Data:
    """Documents with one of three words, queries for each, and one of each kind in another language."""
    root = tmp_path / "quesst14Database"
    lists: dict[str, list[str]] = {"utterances": [], "dev": [], "eval": []}
    said: dict[str, dict[str, str]] = {"utterances": {}, "dev": {}, "eval": {}}
    folders = {"utterances": "Audio", "dev": "dev_queries", "eval": "eval_queries"}
    for part, folder in folders.items():
        start = "quesst14_" if part == "utterances" else f"quesst14_{part}_"
        words = [*WORDS, *WORDS] if part == "utterances" else WORDS
        for index, word in enumerate([*words, "czech"], start=1):
            name = f"{start}{index:04d}"
            said[part][name] = word
            lists[part].append(f"quesst14Database/{folder}/{name}.wav {'czech' if word == 'czech' else 'nnenglish'}\n")
            if word != "czech":
                before, after = (OTHERS[:1], OTHERS[index % 2 :]) if part == "utterances" else ((), ())
                write_words(root / folder / f"{name}.wav", *before, word, *after)
    (root / "scoring").mkdir()
    for part, lines in lists.items():
        (root / "scoring" / f"language_key_{part}.lst").write_text("".join(lines))
    for part in ("dev", "eval"):
        folder = root / "scoring" / f"groundtruth_quesst14_{part}"
        folder.mkdir()
        excerpts = "".join(f'<excerpt audio_filename="{name}.wav" dur="1"/>' for name in said["utterances"])
        (folder / "quesst14.ecf.xml").write_text(f'<?xml version="1.0" encoding="ISO-8859-1"?><ecf>{excerpts}</ecf>')
        terms = "".join(f'<term termid="{name}"><termtext>{name}</termtext></term>' for name in said[part])
        (folder / f"quesst14_{part}.tlist.xml").write_text(f"<termlist>{terms}</termlist>")
        lines = [
            f"LEXEME {document} 1 0.0 1.0 {query} lex <NA> <NA>"
            for query, word in said[part].items()
            for document, other in said["utterances"].items()
            if word == other
        ]
        lines += [";; a comment", "SPEAKER quesst14_0001 1 0 1 <NA>", "LEXEME quesst14_0001 1 0 1 NO_KEYWORD lex"]
        (folder / f"quesst14_{part}.rttm").write_text("\n".join(lines))
    return Quesst14Data(root=root)


class TestReading:
    def test_reads_english_and_scores_all(self, corpus: Quesst14Data) -> None:
        splits = QbE(QbEConfig()).read(corpus)
        assert {name: len(table) for name, table in splits.items()} == {"documents": 6, "dev": 3, "test": 3}
        test = splits["test"]
        assert test["id"].tolist() == ["quesst14_eval_0001", "quesst14_eval_0002", "quesst14_eval_0003"]
        assert matches_of(test)[0] == {"quesst14_0001", "quesst14_0004"}
        assert (test["num_scored_queries"][0], test["num_scored_documents"][0]) == (4, 7)
        assert splits[DOCUMENTS]["num_samples"][0] == round(3 * 0.48 * 16_000)

    def test_reads_what_s3prl_reads(self, corpus: Quesst14Data) -> None:
        s3prl_compat.install()
        from s3prl.dataio.corpus.quesst14 import Quesst14

        theirs, splits = Quesst14(str(corpus.root)), QbE(QbEConfig()).read(corpus)
        for split, paths in {
            "documents": theirs.docs,
            "dev": theirs.valid_queries,
            "test": theirs.test_queries,
        }.items():
            assert splits[split]["wav_path"].tolist() == [str(path) for path in paths]

    def test_other_languages(self, corpus: Quesst14Data) -> None:
        with pytest.raises(UserError, match="quesst14_0007"):
            QbE(QbEConfig()).read(corpus.model_copy(update={"language": None}))
        with pytest.raises(UserError, match="czech, nnenglish"):
            QbE(QbEConfig()).read(corpus.model_copy(update={"language": "basque"}))

    @pytest.mark.parametrize(
        ("file", "content", "expected"),
        [
            ("language_key_dev.lst", None, "language_key_dev.lst"),
            ("language_key_dev.lst", "", "no line"),
            ("language_key_dev.lst", "a/b.wav\n", "line 1"),
            ("language_key_dev.lst", "b.wav nnenglish\n", "line 1"),
            ("language_key_dev.lst", "a/../../b.wav nnenglish\n", "line 1"),
            ("language_key_dev.lst", "a/nowhere.wav nnenglish\n", "nowhere.wav"),
            ("language_key_dev.lst", f"a/{'b' * 300}.wav nnenglish\n", "line 1"),
            ("language_key_dev.lst", "q/dev_queries/quesst14_dev_0001.wav nnenglish\n" * 2, "twice"),
            ("groundtruth_quesst14_dev/quesst14_dev.rttm", None, "*.rttm"),
            ("groundtruth_quesst14_dev/quesst14_dev.rttm", "", "hold queries of dev"),
            ("groundtruth_quesst14_dev/quesst14_dev.rttm", "LEXEME quesst14_0001\n", "line 1"),
            ("groundtruth_quesst14_dev/quesst14_dev.rttm", "LEXEME x 1 0 1 quesst14_dev_0001 lex\n", "'x'"),
            ("groundtruth_quesst14_dev/quesst14_dev.tlist.xml", "<termlist", "XML"),
            ("groundtruth_quesst14_dev/quesst14_dev.tlist.xml", "<termlist/>", "termid"),
            ("groundtruth_quesst14_dev/quesst14.ecf.xml", "<ecf/>", "excerpt"),
            ("groundtruth_quesst14_dev/quesst14.ecf.xml", "<!DOCTYPE a><ecf/>", "document type"),
            ("groundtruth_quesst14_dev/quesst14.ecf.xml", '<ecf><excerpt audio_filename="x.wav"/></ecf>', "line 1"),
            ("groundtruth_quesst14_dev/second.ecf.xml", "<ecf/>", "second.ecf.xml"),
        ],
    )
    def test_unusable_files_are_refused(
        self, corpus: Quesst14Data, file: str, content: str | None, expected: str
    ) -> None:
        path = corpus.root / "scoring" / file
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
        with pytest.raises(UserError) as error:
            QbE(QbEConfig()).check(corpus)
        assert expected in str(error.value)
        assert len(str(error.value)) < 400
        assert "\n" not in str(error.value)

    def test_large_xml_is_refused(self, corpus: Quesst14Data) -> None:
        with (corpus.root / "scoring" / "groundtruth_quesst14_dev" / "quesst14.ecf.xml").open("a") as file:
            file.write(" " * 20_000_000)
        with pytest.raises(UserError, match=r"20 MB of text in .*quesst14\.ecf\.xml"):
            QbE(QbEConfig()).read(corpus)

    def test_8_khz_is_refused_on_request(self, corpus: Quesst14Data) -> None:
        with pytest.raises(UserError, match="8000 Hz"):
            QbE(QbEConfig()).check(corpus.model_copy(update={"resample": False}))

    def test_other_matches_are_another_corpus(self, corpus: Quesst14Data) -> None:
        first = QbE(QbEConfig()).fingerprint(corpus)
        file = corpus.root / "scoring/groundtruth_quesst14_eval/quesst14_eval.rttm"
        file.write_text("\n".join(file.read_text().splitlines()[1:]))
        assert QbE(QbEConfig()).fingerprint(corpus) != first

    def test_bench_data_check_knows_the_layout(self, corpus: Quesst14Data, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"tasks": {"qbe": {"root": str(corpus.root)}}}))
        done = CliRunner().invoke(data, ["check", str(tmp_path / "mine.yaml"), "--json"])
        (report,) = json.loads(done.stdout)["corpora"]
        assert report["usable"], report["errors"] + report["bad_files"]
        assert {split["split"]: split["num_utterances"] for split in report["splits"]} == {
            "documents": 6,
            "dev": 3,
            "test": 3,
        }
        assert any("6 of 2,438" in remark for remark in report["remarks"])
        assert all(len(remark) < 400 for remark in report["remarks"])


class TestManifest:
    @pytest.fixture
    def own(self, tmp_path: Path) -> ManifestQueriesData:
        rows, matches = ["path,split,speaker"], ["query,document"]
        for split in ("documents", "dev", "test"):
            for word in WORDS:
                words = (OTHERS[0], word, OTHERS[1]) if split == "documents" else (word,)
                write_words(tmp_path / f"{split}-{word}.wav", *words, sample_rate_hz=16_000)
                rows.append(f"{split}-{word}.wav,{split},ann")
                if split != "documents":
                    matches.append(f"{split}-{word},documents-{word}")
        (tmp_path / "own.csv").write_text("\n".join(rows))
        (tmp_path / "matches.csv").write_text("\n".join(matches))
        return ManifestQueriesData(manifest=tmp_path / "own.csv", matches=tmp_path / "matches.csv")

    def test_own_queries(self, own: ManifestQueriesData, log_mel: Any, tmp_path: Path) -> None:
        task = QbE(QbEConfig())
        assert {name: size.num_utterances for name, size in task.check(own).items()} == dict.fromkeys(
            ("documents", "dev", "test"), 3
        )
        found = task.evaluate(log_mel, own, tmp_path / "work", Context())
        assert found.scores == {"dev": {"mtwv": 1.0}, "test": {"mtwv": 1.0}}
        assert {row["speaker"] for row in found.predictions} == {"ann"}

    @pytest.mark.parametrize(
        ("file", "old", "new", "expected"),
        [
            ("own.csv", ",documents,", ",train,", "documents"),
            ("own.csv", ",dev,", ",test,", "Found none of dev"),
            ("matches.csv", "dev-one,", "dev-nobody,", "dev-nobody"),
            ("matches.csv", ",documents-one", ",test-one", "test-one"),
            ("matches.csv", "dev-", "test-", "hold queries of dev"),
            ("matches.csv", "query,document", "query,documents", "document"),
        ],
    )
    def test_mistakes_are_named(self, own: ManifestQueriesData, file: str, old: str, new: str, expected: str) -> None:
        path = own.manifest.with_name(file)
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(UserError) as error:
            QbE(QbEConfig()).check(own)
        assert expected in str(error.value)
        assert len(str(error.value)) < 400


class TestEvaluation:
    @pytest.fixture
    def evaluate(self, corpus: Quesst14Data, tmp_path: Path) -> Callable[..., Evaluation]:
        def evaluate(upstream: Any, name: str = "work", context: Context | None = None, **changes: Any) -> Evaluation:
            return QbE(QbEConfig(**changes)).evaluate(upstream, corpus, tmp_path / name, context or Context())

        return evaluate

    def test_the_score_is_that_of_the_predictions(self, evaluate: Any, log_mel: Any) -> None:
        """Three of four scored queries are searched for in six of seven documents."""
        found = evaluate(log_mel)
        rows = [row for row in found.predictions if row["split"] == "test"]
        assert [row["id"] for row in rows] == [f"quesst14_eval_000{index}" for index in (1, 2, 3)]
        best = 0.0
        for threshold in {score for row in rows for score in row["prediction"].values()}:
            value = 0.0
            for row in rows:
                accepted = {name for name, score in row["prediction"].items() if score >= threshold}
                matches = set(row["reference"])
                value += len(accepted & matches) / len(matches)
                value -= FALSE_ALARM_WEIGHT * len(accepted - matches) / (7 - len(matches))
            best = max(best, value / 4)
        assert found.scores["test"]["mtwv"] == pytest.approx(best, abs=1e-12)
        assert found.scores["test"]["mtwv"] == pytest.approx(0.75)
        assert all(row["correct"] for row in rows)
        assert rows[0]["duration_s"] == pytest.approx(0.48)
        for row in rows:
            scores = np.array(list(row["prediction"].values()))
            assert (scores.mean(), scores.std()) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-4))

    def test_the_best_state_on_dev_is_tested(self, evaluate: Any, upstream: Any) -> None:
        settings = evaluate(upstream).settings
        values = settings["dev_mtwv_by_layer"]
        assert len(values) == 3
        assert settings["layer"] == values.index(max(values))

    def test_protocols_agree_up_to_precision(self, evaluate: Any, log_mel: Any) -> None:
        cached, exact = (evaluate(log_mel, protocol, Context(protocol=protocol)) for protocol in ("cached", "s3prl"))  # type: ignore[arg-type]
        assert cached.scores == exact.scores
        for one, other in zip(cached.predictions, exact.predictions, strict=True):
            assert one["prediction"] == pytest.approx(other["prediction"], abs=1e-3)

    def test_seeds_share_one_search(self, evaluate: Any, make_upstream: Any, tmp_path: Path) -> None:
        """Nothing is random: the second seed computes nothing, and says so."""
        upstream = make_upstream()
        context = Context(shared_workdir=tmp_path / "shared")
        first = evaluate(upstream, "seed0", context)
        upstream.forwards_left = 0
        assert evaluate(upstream, "seed1", dataclasses.replace(context, seed=1)) == first
        assert first.settings["seed_has_effect"] is False

    def test_other_models_share_nothing(self, evaluate: Any, make_upstream: Any, tmp_path: Path) -> None:
        context = Context(shared_workdir=tmp_path / "shared")
        first = evaluate(make_upstream(), context=context)
        assert evaluate(make_upstream(seed=1), context=context) != first

    def test_subsets_hold_matches_and_are_scored_alone(self, evaluate: Any, log_mel: Any) -> None:
        found = evaluate(log_mel, max_eval_utterances=1, max_documents=3)
        assert found.settings["num_documents_utterances"] == found.settings["num_scored_documents"] == 3
        assert found.settings["num_scored_queries"] == 1
        (row,) = [row for row in found.predictions if row["split"] == "test"]
        assert len(row["prediction"]) == 3
        assert set(row["reference"]) <= set(row["prediction"])
        assert row["reference"]

    def test_results_can_be_stored(self, evaluate: Any, upstream: Any) -> None:
        found = evaluate(upstream)
        json.dumps([found.settings, list(found.predictions)], allow_nan=False)
        assert all(math.isfinite(score) for values in found.scores.values() for score in values.values())


def test_paper_is_the_recipe() -> None:
    """The preset's distance is the default of s3prl's ``config.yaml``, and everything is searched."""
    paper = QbE.presets["paper"]
    assert (paper.distance, paper.max_eval_utterances, paper.max_documents) == ("cosine_exp", None, None)
    assert {"learning_rate", "total_steps"}.isdisjoint(QbEConfig.model_fields)
