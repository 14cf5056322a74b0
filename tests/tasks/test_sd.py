"""Speaker diarisation: the corpus, the error rate, training and scoring."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from typer.testing import CliRunner

from bench.contracts import Context, Evaluation
from bench.errors import UserError
from tasks.bridge import s3prl_compat
from tasks.commands import data
from tasks.corpora.librimix import LibriMixData, ManifestMixturesData
from tasks.corpora.speaker_turns import turns_of
from tasks.metrics.diarization import der_counts, predicted_spans
from tasks.metrics.speaker_spans import spans_of_text, spans_text
from tasks.sd import SD
from tests.helpers.manifests import Write

SHORT = SD.presets["smoke"].model_copy(
    update={
        "total_steps": 6,
        "eval_interval_steps": 2,
        "save_interval_steps": 2,
        "max_train_utterances": None,
        "max_eval_utterances": None,
    }
)
SIZES = {"train": 4, "dev": 2, "test": 3}


def write_mixture(path: Path, turns: list[tuple[str, float, float]], duration_s: float) -> None:
    """Write a tone per speaker, with noise."""
    time_s = np.arange(round(duration_s * 16_000)) / 16_000
    samples = 0.01 * np.random.RandomState(0).standard_normal(len(time_s))
    for speaker, start_s, end_s in turns:
        pitch_hz = 200.0 + 37.0 * (sum(map(ord, speaker)) % 50)
        samples += 0.2 * np.sin(2 * np.pi * pitch_hz * time_s) * ((time_s >= start_s) & (time_s < end_s))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, 16_000)


def mixture(split: str, index: int) -> tuple[str, list[tuple[str, float, float]], float]:
    """Return a name, turns and a length that is no whole number of frames."""
    first, second = f"{split}a{index}", f"{split}b{index}"
    turns = [(first, 0.1, 0.7 + 0.1 * index), (second, 0.4, 1.0), (first, 1.1, 1.3)]
    return f"{first}_{second}", turns, 1.411 + 0.05 * index


@pytest.fixture
def corpus(tmp_path: Path) -> LibriMixData:
    """Mixtures of two tones, in the folders that LibriMix's script writes."""
    root = tmp_path / "data"
    for split, number in SIZES.items():
        lines: dict[str, list[str]] = {name: [] for name in ("wav.scp", "segments", "utt2spk", "reco2dur")}
        for index in range(number):
            name, turns, duration_s = mixture(split, index)
            audio = tmp_path / "Libri2Mix" / "wav16k" / "max" / split / "mix_both" / f"{name}.wav"
            write_mixture(audio, turns, duration_s)
            lines["wav.scp"].append(f"{name} {audio}")
            lines["reco2dur"].append(f"{name} {round(duration_s * 16_000) / 16_000}")
            for speaker, start_s, end_s in turns:
                segment = f"{name}_{start_s * 1000:06.0f}_{end_s * 1000:06.0f}"
                lines["segments"].append(f"{segment} {name} {start_s} {end_s}")
                lines["utt2spk"].append(f"{segment} {speaker}")
        for file, content in lines.items():
            (root / split).mkdir(parents=True, exist_ok=True)
            (root / split / file).write_text("".join(f"{line}\n" for line in content), encoding="utf-8")
    return LibriMixData(root=root)


def error_rate_by_frames(reference: str, prediction: str) -> tuple[int, int]:
    """Count wrong and spoken hundredths of seconds by the definition, for the best of all assignments of speakers."""
    true, found = ([_frames(spans) for spans in spans_of_text(text)] for text in (reference, prediction))
    width = max(len(true), len(found))
    everyone = set().union(*true, *found)
    true, found = (side + [set()] * (width - len(side)) for side in (true, found))
    wrong = []
    for order in permutations(found):
        errors = 0
        for frame in everyone:
            speaking = [frame in one for one in true]
            claimed = [frame in one for one in order]
            right = sum(a and b for a, b in zip(speaking, claimed, strict=True))
            missed = max(0, sum(speaking) - sum(claimed))
            false_alarms = max(0, sum(claimed) - sum(speaking))
            confused = min(sum(speaking), sum(claimed)) - right
            errors += missed + false_alarms + confused
        wrong.append(errors)
    return min(wrong), sum(map(len, true))


def _frames(spans: Any) -> set[int]:
    return {frame for start, end in spans for frame in range(start, end)}


class TestReading:
    def test_turns_of_every_recording(self, corpus: LibriMixData) -> None:
        splits = SD(SHORT).read(corpus)
        assert {split: len(table) for split, table in splits.items()} == SIZES
        name, turns, duration_s = mixture("test", 1)
        row = splits["test"].set_index("id").loc[name]
        assert [tuple(turn) for turn in turns_of(row["turns"])] == turns
        assert row["speakers"] == "testa1 testb1"
        assert row["num_samples"] == round(duration_s * 16_000)

    def test_paths_may_be_relative_to_a_folder_above(self, corpus: LibriMixData) -> None:
        for split in SIZES:
            file = corpus.root / split / "wav.scp"
            file.write_text(file.read_text().replace(f"{corpus.root.parent}/", ""))
        assert SD(SHORT).read(corpus)["test"]["wav_path"].map(lambda path: Path(path).is_file()).all()

    @pytest.mark.parametrize("name", ["wav.scp", "segments", "utt2spk", "reco2dur"])
    def test_a_missing_file_is_named(self, corpus: LibriMixData, name: str) -> None:
        (corpus.root / "dev" / name).unlink()
        with pytest.raises(UserError, match=f"dev/{name}"):
            SD(SHORT).check(corpus)

    @pytest.mark.parametrize(
        ("name", "old", "new", "expected"),
        [
            ("segments", " 0.1 0.7", " 0.7 0.1", "0.7 to 0.1"),
            ("segments", " 0.1 0.7", " 0.1 9.0", "to 9"),
            ("segments", " 0.1 0.7", " 0.1 -1", "to -1"),
            ("segments", " 0.1 0.7", " nan 0.7", "nan"),
            ("segments", " 0.1 0.7", " 0.1", "start and end"),
            ("segments", " testa0_testb0 0.1", " testa9_testb0 0.1", "testa9_testb0"),
            ("utt2spk", " testa0\n", " testc0\n", "3"),
            ("utt2spk", "testa0_testb0_000100_000700 testa0\n", "", "000100_000700"),
            ("reco2dur", " 1.411", " 2.0", "2.0"),
            ("reco2dur", "testa0_testb0 1.411\n", "", "reco2dur"),
            ("reco2dur", " 1.411", " nan", "nan"),
            ("wav.scp", ".wav\n", ".wav |\n", "command"),
            ("wav.scp", ".wav\n", ".flac\n", "testa0_testb0.flac"),
        ],
    )
    def test_faulty_lines_are_refused(self, corpus: LibriMixData, name: str, old: str, new: str, expected: str) -> None:
        file = corpus.root / "test" / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))
        with pytest.raises(UserError) as error:
            SD(SHORT).check(corpus)
        assert expected in str(error.value)
        assert len(str(error.value)) < 400

    def test_a_recording_without_turns_is_refused(self, corpus: LibriMixData) -> None:
        file = corpus.root / "test" / "segments"
        file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "testa0" not in line))
        with pytest.raises(UserError, match="testa0_testb0"):
            SD(SHORT).check(corpus)

    def test_other_turns_are_another_corpus(self, corpus: LibriMixData) -> None:
        first = SD(SHORT).fingerprint(corpus)
        file = corpus.root / "test" / "segments"
        file.write_text(file.read_text().replace(" 0.1 0.7", " 0.2 0.7"))
        assert SD(SHORT).fingerprint(corpus) != first

    def test_bench_data_check_knows_the_layout(self, corpus: LibriMixData, tmp_path: Path) -> None:
        file = corpus.root / "test" / "utt2spk"
        file.write_text(file.read_text().replace(" testa0\n", " traina0\n"))
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"tasks": {"sd": {"root": str(corpus.root)}}}))
        done = CliRunner().invoke(data, ["check", str(tmp_path / "mine.yaml"), "--json"])
        (report,) = json.loads(done.stdout)["corpora"]
        assert report["usable"]
        assert {split["split"]: split["num_utterances"] for split in report["splits"]} == SIZES
        assert any("3 of 3,000" in remark for remark in report["remarks"])
        assert any("traina0" in remark for remark in report["remarks"])


class TestManifest:
    @pytest.fixture
    def own(self, tmp_path: Path, write_manifest: Write) -> Callable[..., ManifestMixturesData]:
        def write(turns: str, rttm: str = "turns.rttm", **columns: str) -> ManifestMixturesData:
            (tmp_path / "turns.rttm").write_text(turns)
            rows = []
            for split in SIZES:
                write_mixture(tmp_path / "calls" / f"{split}.wav", [("ana", 0.1, 0.5), ("ben", 0.3, 0.9)], 1.0)
                rows.append({"path": f"calls/{split}.wav", "split": split, "rttm": rttm, **columns})
            return ManifestMixturesData(manifest=write_manifest(rows))

        return write

    RTTM = "".join(
        f"SPEAKER {split} 1 0.10 0.40 <NA> <NA> ana <NA> <NA>\nSPEAKER {split} 1 0.3 0.6 <NA> <NA> ben\n"
        for split in SIZES
    )

    def test_turns_of_the_file(self, own: Callable[..., ManifestMixturesData]) -> None:
        table = SD(SHORT).read(own(f";; made by hand\nSPKR-INFO test 1 <NA>\n{self.RTTM}", room="kitchen"))["test"]
        (turns,) = map(turns_of, table["turns"])
        assert [(turn.speaker, turn.start_s, round(turn.end_s, 6)) for turn in turns] == [
            ("ana", 0.1, 0.5),
            ("ben", 0.3, 0.9),
        ]
        assert table["id"].tolist() == ["calls/test"]
        assert table["room"].tolist() == ["kitchen"]

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ("SPEAKER test", "SPEAKER tset", "calls/test"),
            ("0.40", "0", "line 1"),
            ("0.40", "inf", "line 1"),
            ("0.40", "much", "line 1"),
            ("SPEAKER", "speaker", "turns.rttm"),
            ("1 0.10", "1 -0.10", "from -0.1"),
        ],
    )
    def test_faulty_files_are_refused(
        self, own: Callable[..., ManifestMixturesData], old: str, new: str, expected: str
    ) -> None:
        with pytest.raises(UserError) as error:
            SD(SHORT).check(own(self.RTTM.replace(old, new, -1 if old in {"SPEAKER", "SPEAKER test"} else 1)))
        assert expected in str(error.value)
        assert len(str(error.value)) < 400

    @pytest.mark.parametrize("name", ["nowhere.rttm", "x" * 5000, "calls"])
    def test_a_file_that_is_not_there_is_refused(self, own: Callable[..., ManifestMixturesData], name: str) -> None:
        with pytest.raises(UserError) as error:
            SD(SHORT).check(own(self.RTTM, name))
        assert len(str(error.value)) < 400


class TestErrorRate:
    @pytest.mark.parametrize(
        ("reference", "prediction", "wrong", "spoken"),
        [
            ("1: 0.00-1.00", "1: 0.00-1.00", 0, 100),
            ("1: 0.00-1.00", "", 100, 100),
            ("1: 0.00-1.00", "1: 0.50-1.50", 100, 100),
            # The other order of speakers is as good.
            ("1: 0.00-1.00; 2: 1.00-2.00", "1: 1.00-2.00; 2: 0.00-1.00", 0, 200),
            # One speaker for two: half is missed where they overlap, and one of them is confused elsewhere.
            ("1: 0.00-2.00; 2: 1.00-2.50", "1: 0.00-2.50", 150, 350),
            ("1: 0.00-1.00", "1: 0.00-1.00; 2: 0.20-0.30", 10, 100),
            ("1: 0.10-0.20 0.30-0.40", "1: 0.10-0.40", 10, 20),
        ],
    )
    def test_of_known_turns(self, reference: str, prediction: str, wrong: int, spoken: int) -> None:
        assert der_counts(reference, prediction) == {"der": [wrong, spoken]}
        assert error_rate_by_frames(reference, prediction) == (wrong, spoken)

    def test_is_that_of_the_definition(self) -> None:
        random = np.random.RandomState(0)
        for _ in range(30):
            texts = [spans_text([_random_spans(random) for _ in range(2)]) for _ in range(2)]
            if texts[0]:
                assert tuple(der_counts(*texts)["der"]) == error_rate_by_frames(*texts)

    @pytest.mark.parametrize("stride", [160, 320, 441])
    @pytest.mark.parametrize("median_filter", [1, 11])
    def test_spans_are_those_of_s3prls_rttm(self, tmp_path: Path, stride: int, median_filter: int) -> None:
        s3prl_compat.install()
        import s3prl.problem.diarization.util as theirs

        noise = np.convolve(np.random.RandomState(1).standard_normal(1_001), np.ones(9) / 3, mode="same")
        probabilities = torch.from_numpy(noise.reshape(-1, 1).repeat(2, 1)).float().sigmoid()
        probabilities[:, 1] = probabilities[:, 1].flip(0)
        (tmp_path / "prediction").mkdir()
        torch.save(probabilities, tmp_path / "prediction" / "one.pt")
        theirs.make_rttm(tmp_path / "prediction", tmp_path / "hypothesis", 0.4, median_filter, stride, 1, 16_000)
        found: dict[str, set[int]] = {}
        for line in (tmp_path / "hypothesis").read_text().splitlines():
            start, length = (round(100 * float(value)) for value in line.split()[3:5])
            found.setdefault(line.split()[7], set()).update(range(start, start + length))
        ours = predicted_spans(probabilities.numpy(), 0.4, median_filter, stride / 16_000)
        assert [_frames(spans) for spans in ours] == [found["one_0"], found["one_1"]]
        assert all(ours)


def _random_spans(random: np.random.RandomState) -> list[tuple[int, int]]:
    edges = sorted(random.choice(120, 2 * random.randint(0, 4), replace=False).tolist())
    return list(zip(edges[::2], edges[1::2], strict=True))


class TestTraining:
    @pytest.fixture
    def evaluate(self, corpus: LibriMixData, tmp_path: Path) -> Callable[..., Evaluation]:
        def evaluate(upstream: Any, name: str, protocol: str = "cached", **changes: Any) -> Evaluation:
            task = SD(SHORT.model_copy(update=changes))
            return task.evaluate(upstream, corpus, tmp_path / name, Context(protocol=protocol))  # type: ignore[arg-type]

        return evaluate

    @pytest.mark.parametrize("protocol", ["cached", "s3prl"])
    def test_scores_are_those_of_the_predictions(self, evaluate: Any, upstream: Any, protocol: str) -> None:
        done = evaluate(upstream, "work", protocol)
        assert set(done.scores) == {"dev", "test"}
        for split, scores in done.scores.items():
            rows = [row for row in done.predictions if row["split"] == split]
            counts = [error_rate_by_frames(row["reference"], row["prediction"]) for row in rows]
            assert [tuple(row["counts"]["der"]) for row in rows] == counts
            assert scores["der"] == pytest.approx(sum(one for one, _ in counts) / sum(all_ for _, all_ in counts))
        row = next(row for row in done.predictions if row["split"] == "test")
        assert (row["id"], row["speakers"]) == ("testa0_testb0", "testa0 testb0")
        assert row["reference"] == "1: 0.10-0.70 1.10-1.30; 2: 0.40-1.00"
        assert row["duration_s"] == pytest.approx(1.411, abs=1e-3)
        metrics = done.settings["test_recipe_metrics"]
        assert metrics["scoring_der"] == done.scores["test"]["der"]
        assert metrics["scoring_der_at_the_best_on_dev"] >= metrics["scoring_der"]

    def test_learns_what_it_is_tested_on(self, evaluate: Any, upstream: Any, corpus: LibriMixData) -> None:
        for split in ("dev", "test"):
            shutil.rmtree(corpus.root / split)
            shutil.copytree(corpus.root / "train", corpus.root / split)
        done = evaluate(upstream, "work", total_steps=60, eval_interval_steps=20, learning_rate=1e-2)
        assert done.scores["test"]["der"] < 0.25

    def test_the_best_threshold_and_filter_of_a_split_score_it(self, evaluate: Any, upstream: Any) -> None:
        done = evaluate(upstream, "all")
        alone = [
            evaluate(upstream, f"{threshold}-{size}", thresholds=(threshold,), median_filters=(size,))
            for threshold in SHORT.thresholds
            for size in SHORT.median_filters
        ]
        for split in ("dev", "test"):
            assert done.scores[split]["der"] == min(one.scores[split]["der"] for one in alone)

    @pytest.mark.parametrize("protocol", ["cached", "s3prl"])
    def test_recordings_longer_than_a_chunk(self, evaluate: Any, upstream: Any, protocol: str) -> None:
        """The last of 70 frames makes a chunk of 30, or of 10 of 40."""
        done = evaluate(upstream, "work", protocol, chunk_frames=30)
        assert sum(row["split"] == "test" for row in done.predictions) == SIZES["test"]

    @pytest.mark.parametrize("chunk_frames", [70, 2_000])
    def test_lengths_beyond_the_audio(
        self, evaluate: Any, upstream: Any, corpus: LibriMixData, chunk_frames: int
    ) -> None:
        """The audio has 70 frames and a half, and its listed length has 75."""
        for split in SIZES:
            file = corpus.root / split / "reco2dur"
            file.write_text(file.read_text().replace(" 1.411", " 1.5"))
        done = evaluate(upstream, "work", chunk_frames=chunk_frames)
        assert sum(row["split"] == "test" for row in done.predictions) == SIZES["test"]

    def test_goes_on_exactly_after_a_kill(self, evaluate: Any, make_upstream: Any) -> None:
        straight = evaluate(make_upstream(), "straight", "s3prl")
        upstream = make_upstream()
        upstream.forwards_left = 2 + 2 + 2 + 2 + 1  # Four steps, two evaluations of dev, and a step.
        with pytest.raises(KeyboardInterrupt):
            evaluate(upstream, "killed", "s3prl")
        upstream.forwards_left = None
        assert evaluate(upstream, "killed", "s3prl") == straight

    def test_a_diverged_head_has_a_score(self, evaluate: Any, upstream: Any) -> None:
        done = evaluate(upstream, "work", learning_rate=1e30)
        assert math.isfinite(done.scores["test"]["der"])
        assert set(done.settings["loss"]) == {"dev", "test"}

    def test_paper_is_the_recipe(self) -> None:
        defaults = s3prl_compat.recipe_class(*SD.recipe)().default_config()
        ours = SD.presets["paper"].recipe_arguments()
        assert ours["scoring"] == defaults["scoring"]
        assert ours["build_downstream"] == defaults["build_downstream"]
        assert ours["build_dataset"]["chunk_size"] == defaults["build_dataset"]["chunk_size"]
        assert ours["build_batch_sampler"]["valid"] == defaults["build_batch_sampler"]["valid"]
        assert (
            ours["build_batch_sampler"]["train"]["batch_size"] == defaults["build_batch_sampler"]["train"]["batch_size"]
        )
        for name in ("total_steps", "eval_step", "save_step", "gradient_accumulate"):
            assert ours["train"][name] == defaults["train"][name]

    def test_even_filters_are_refused(self) -> None:
        with pytest.raises(ValueError, match="odd"):
            type(SHORT).model_validate({**SHORT.model_dump(), "median_filters": (2,)})
