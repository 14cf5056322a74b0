"""Speech recognition: text read exactly, error rates equal to s3prl's, bad corpora refused."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from bench.contracts import Context
from bench.errors import UserError
from tasks.asr import ASR
from tasks.bridge import s3prl_compat
from tasks.corpora.librispeech import LibriSpeechData, read_librispeech
from tasks.metrics.counts import ratios, transcript_counts

TEXTS = ["NULL", "A CAB", "NAN", "BAD DAD", "NA", "CAB"]


@pytest.fixture
def real_librispeech(real_speech: Path) -> LibriSpeechData:
    return LibriSpeechData(root=real_speech / "librispeech")


def error_rates(references: list[str], predictions: list[str]) -> dict[str, float]:
    pairs = zip(references, predictions, strict=True)
    return ratios([{"counts": transcript_counts(*pair)} for pair in pairs])


class TestErrorRates:
    def test_equal_to_s3prl_on_awkward_text(self) -> None:
        s3prl_compat.install()
        from s3prl.metric import cer, wer

        draw = random.Random(0)
        # Few words, so that many match; runs of spaces; empty hypotheses.
        words = ["A", "B", "CAB", "", "", "NULL", "Ä"]
        for _ in range(200):
            references = [" ".join(["X", *draw.choices(words, k=draw.randint(0, 5))]) for _ in range(4)]
            hypotheses = [" ".join(draw.choices([*words, "X"], k=draw.randint(0, 6))) for _ in range(4)]
            ours = error_rates(references, hypotheses)
            assert ours["wer"] == pytest.approx(wer(hypotheses, references), abs=1e-12)
            assert ours["cer"] == pytest.approx(cer(hypotheses, references), abs=1e-12)

    def test_errors_are_summed_over_the_set(self) -> None:
        # 1 substitution and 2 deletions in 1 + 4 words; 1 of 1 and 4 of 7 characters (" B" and " B" deleted).
        assert error_rates(["A", "A B A B"], ["C", "A A"]) == {"wer": 3 / 5, "cer": 5 / 8}

    def test_nothing_said_is_all_wrong(self) -> None:
        assert error_rates(["A B"], [""]) == {"wer": 1.0, "cer": 1.0}

    def test_double_space_is_an_error(self) -> None:
        assert error_rates(["A B"], ["A  B"])["wer"] == 0.5


class TestCorpus:
    def test_text_is_exact_to_the_last_character(self, librispeech: LibriSpeechData) -> None:
        splits = read_librispeech(librispeech)
        for speaker, frame in zip(("11", "12", "13"), splits.values(), strict=True):
            assert frame["transcription"].tolist() == TEXTS
            assert set(frame["speaker"]) == {speaker}
        assert splits["test"]["id"].tolist() == [f"13-7-{n:04d}" for n in range(6)]
        assert splits["train"]["num_samples"].tolist()[:2] == [8_000, 8_800]

    @pytest.mark.real_speech
    def test_equals_what_s3prl_reads(self, real_librispeech: LibriSpeechData) -> None:
        s3prl_compat.install()
        from s3prl.dataio.corpus.librispeech import LibriSpeech

        theirs = LibriSpeech(str(real_librispeech.root), n_jobs=1)
        ours = read_librispeech(real_librispeech)
        for split, parsed in {"train": theirs.train, "dev": theirs.valid, "test": theirs.test}.items():
            assert ours[split]["id"].tolist() == sorted(parsed)
            for row in ours[split].to_dict("records"):
                assert row["wav_path"] == str(parsed[row["id"]]["wav_path"])
                # s3prl loses the last character where a file does not end in a newline.
                assert row["transcription"].startswith(parsed[row["id"]]["transcription"])

    def test_several_splits_are_one_set(self, librispeech: LibriSpeechData) -> None:
        both = librispeech.model_copy(update={"dev_splits": ("train-clean-100",), "train_splits": ("dev-clean",)})
        joined = both.model_copy(update={"train_splits": ("train-clean-100", "dev-clean"), "dev_splits": ("x",)})
        with pytest.raises(UserError, match="Found nothing there"):
            read_librispeech(joined)
        shutil.copytree(librispeech.root / "dev-clean", librispeech.root / "x")
        train = read_librispeech(joined)["train"]
        assert train["corpus_split"].tolist() == ["train-clean-100"] * 6 + ["dev-clean"] * 6


class TestRecipe:
    def test_paper_is_the_recipe(self) -> None:
        from tasks.bridge.run import run_arguments

        default = s3prl_compat.recipe_class("s3prl.problem.asr.superb_asr", "SuperbASR")().default_config()
        ours = run_arguments(default, ASR.presets["paper"].recipe_arguments(), Context())
        added = {"apply_time_warp": True, "time_warp_window": 5}  # SpecAug's own defaults, spelled out
        default["build_downstream"]["specaug_conf"] |= added
        default["build_batch_sampler"]["train"]["seed"] = 12345678
        for name in ("build_tokenizer", "build_featurizer", "build_downstream", "build_model", "build_task"):
            assert json.dumps(ours[name], sort_keys=True) == json.dumps(default[name], sort_keys=True)
        assert ours["build_batch_sampler"] == default["build_batch_sampler"]
        assert ours["train"] == {**default["train"], "seed": 0}

    def test_words_that_pandas_takes_for_nothing(
        self, librispeech: LibriSpeechData, upstream: Any, tmp_path: Path
    ) -> None:
        config = ASR.presets["smoke"].model_copy(update={"total_steps": 2, "batch_size": 2})
        done = ASR(config).evaluate(upstream, librispeech, tmp_path / "w", Context())
        for split, speaker in (("dev", 12), ("test", 13)):
            rows = [row for row in done.predictions if row["split"] == split]
            assert [row["reference"] for row in rows] == TEXTS
            assert [row["id"] for row in rows] == [f"{speaker}-7-{n:04d}" for n in range(6)]
            assert all(isinstance(row["prediction"], str) for row in rows)
            for metric in ("wer", "cer"):
                assert done.scores[split][metric] == pytest.approx(done.settings[f"{split}_recipe_metrics"][metric])
        json.dumps(done.predictions)

    @pytest.mark.real_speech
    def test_scores_on_real_speech_are_s3prl_s(
        self, real_librispeech: LibriSpeechData, log_mel: Any, tmp_path: Path
    ) -> None:
        """An untrained head says a lot, all of it wrong, so every kind of error is counted."""
        config = ASR.presets["smoke"].model_copy(update={"total_steps": 1, "learning_rate": 1e-6})
        task = ASR(config)
        task.check(real_librispeech)
        done = task.evaluate(log_mel, real_librispeech, tmp_path, Context())
        assert any(" " in row["prediction"].strip() for row in done.predictions)
        for split in ("dev", "test"):
            for metric in ("wer", "cer"):
                assert done.scores[split][metric] == pytest.approx(done.settings[f"{split}_recipe_metrics"][metric])

    @pytest.mark.slow
    def test_learns_to_spell(self, librispeech: LibriSpeechData, log_mel: Any, tmp_path: Path) -> None:
        """Six tones with a text each, the same in every split: the head begins to tell them apart."""
        config = ASR.presets["smoke"].model_copy(
            update={"total_steps": 250, "eval_interval_steps": 50, "learning_rate": 3e-3, "batch_size": 6}
        )
        done = ASR(config).evaluate(log_mel, librispeech, tmp_path / "w", Context())
        assert done.scores["test"]["cer"] < 0.75
        assert done.scores["test"] == done.scores["dev"]


def remove(name: str) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return harm


def rewrite(old: str, new: str) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        path = root / "dev-clean/12/7/12-7.trans.txt"
        path.write_text(path.read_text().replace(old, new))

    return harm


def other_rate(root: Path) -> None:
    soundfile.write(root / "test-clean/13/7/13-7-0002.flac", [0.0] * 800, 8_000)


def no_audio(root: Path) -> None:
    for path in (root / "dev-clean").rglob("*.flac"):
        path.unlink()


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (remove("SPEAKERS.TXT"), r"Found no SPEAKERS\.TXT there.*openslr\.org/12"),
        (remove("."), r"Expected LibriSpeech in .*openslr\.org/12"),
        (remove("dev-clean"), r"Expected LibriSpeech's dev-clean in .* Found nothing there. Get dev-clean\.tar\.gz"),
        (no_audio, r"Expected LibriSpeech's dev-clean in .* Found no \.flac there"),
        (remove("test-clean/13/7/13-7.trans.txt"), r"trans\.txt in .*/test-clean/13/7"),
        (remove("dev-clean/12/7/12-7-0003.flac"), r"Found no 12-7-0003\.flac in .*/dev-clean/12/7"),
        (rewrite("12-7-0001 A CAB\n", ""), r"Expected a transcript of 12-7-0001\.flac. Found no line"),
        (rewrite("12-7-0001 A CAB", "12-7-0001 "), r"Expected words after 12-7-0001 in .*12-7\.trans\.txt"),
        (other_rate, r"Expected 16 kHz audio. Found 8000 Hz in .*13-7-0002\.flac"),
    ],
)
def test_an_unusable_corpus_is_refused_in_one_line(
    librispeech: LibriSpeechData, harm: Callable[[Path], None], told: str
) -> None:
    ASR(ASR.presets["paper"]).check(librispeech)
    harm(librispeech.root)
    with pytest.raises(UserError, match=told) as caught:
        ASR(ASR.presets["paper"]).check(librispeech)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"test_splits": ("dev-clean",)}, "Found dev-clean in two"),
        ({"dev_splits": ()}, "at least one folder in dev_splits"),
    ],
)
def test_splits_that_make_no_sense_are_refused(
    librispeech: LibriSpeechData, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        ASR(ASR.presets["paper"]).check(librispeech.model_copy(update=changes))
