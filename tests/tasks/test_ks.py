"""Keyword spotting: classes and partition as s3prl's, its recipe unchanged by ``paper``, bad archives refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import soundfile
import torchaudio

from bench.contracts import Context
from bench.errors import UserError
from tasks.bridge import s3prl_compat
from tasks.corpora.speech_commands import SpeechCommandsData, read_speech_commands
from tasks.ks import KS


@pytest.fixture
def real_commands(real_speech: Path) -> SpeechCommandsData:
    return SpeechCommandsData(
        root=real_speech / "speech_commands_v1", test_root=real_speech / "speech_commands_test_set_v1"
    )


class TestCorpus:
    @pytest.mark.real_speech
    def test_equals_what_s3prl_writes(
        self, real_commands: SpeechCommandsData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The independent truth is s3prl's own parser, told this corpus' words."""
        recipe = s3prl_compat.recipe_class("s3prl.problem.common.superb_ks", "SuperbKS")
        from s3prl.dataio.corpus import speech_commands
        from s3prl.problem.common import superb_ks

        def info(path: Path) -> SimpleNamespace:
            header = soundfile.info(path)
            return SimpleNamespace(num_frames=header.frames, sample_rate=header.samplerate)

        words = [path.name for path in real_commands.test_root.iterdir()]
        monkeypatch.setattr(speech_commands, "CLASSES", words)
        monkeypatch.setattr(superb_ks, "pd", pd)
        monkeypatch.setattr(torchaudio, "info", info, raising=False)
        recipe().prepare_data(
            {"gsc1": str(real_commands.root), "gsc1_test": str(real_commands.test_root)}, str(tmp_path), str(tmp_path)
        )
        ours = read_speech_commands(real_commands)
        for split, name in {"train": "train", "dev": "valid", "test": "test"}.items():
            columns = ["id", "wav_path", "label", "start_sec", "end_sec"]
            theirs = s3prl_compat.read_csv(tmp_path / f"{name}.csv")[columns]
            ours[split].to_csv(tmp_path / "ours.csv", index=False)
            pd.testing.assert_frame_equal(s3prl_compat.read_csv(tmp_path / "ours.csv")[columns], theirs)

    def test_classes_are_the_folders_of_the_test_archive(self, speech_commands: SpeechCommandsData) -> None:
        splits = read_speech_commands(speech_commands)
        for frame in splits.values():
            assert set(frame["label"]) == {"yes", "NULL", "_unknown_", "_silence_"}
        assert set(splits["train"].loc[splits["train"]["label"] == "_unknown_", "id"].str.partition("/")[0]) == {"tree"}

    def test_noise_is_cut_into_seconds(self, speech_commands: SpeechCommandsData) -> None:
        silence = read_speech_commands(speech_commands)["train"].query("label == '_silence_'")
        assert silence[["start_sec", "end_sec", "num_samples"]].to_numpy().tolist() == [
            [0.0, 1.0, 16_000],
            [1.0, 2.0, 16_000],
            [2.0, 2.5, 8_000],
        ]

    def test_a_test_clip_named_like_a_training_clip_is_itself(self, speech_commands: SpeechCommandsData) -> None:
        splits = read_speech_commands(speech_commands)
        shared = set(splits["train"]["id"]) & set(splits["test"]["id"])
        assert shared
        for split, root in (("train", speech_commands.root), ("test", speech_commands.test_root)):
            assert splits[split].set_index("id").loc[sorted(shared), "wav_path"].str.startswith(f"{root}/").all()

    def test_smoke_takes_from_every_class(self, real_commands: SpeechCommandsData) -> None:
        splits = KS.presets["smoke"].limited(read_speech_commands(real_commands), by="label")
        for frame in splits.values():
            assert len(frame) <= 60
            assert frame["label"].nunique() == 10
            assert frame["id"].is_monotonic_increasing


class TestRecipe:
    def test_paper_is_the_recipe(self) -> None:
        from tasks.bridge.run import run_arguments

        default = s3prl_compat.recipe_class("s3prl.problem.common.superb_ks", "SuperbKS")().default_config()
        ours = run_arguments(default, KS.presets["paper"].recipe_arguments(), Context())
        for name in ("build_dataset", "build_featurizer", "build_downstream", "build_model"):
            assert json.dumps(ours[name]) == json.dumps(default[name])
        assert ours["train"] == {**default["train"], "seed": 0}
        assert ours["build_batch_sampler"] == {
            **default["build_batch_sampler"],
            "train": {"batch_size": 32, "seed": 12345678},
        }
        assert ours["num_workers"] == 6

    @pytest.mark.real_speech
    def test_learns_from_real_speech(self, real_commands: SpeechCommandsData, log_mel: Any, tmp_path: Path) -> None:
        """Mean energies tell some words apart: well above chance, a tenth."""
        config = KS.presets["smoke"].model_copy(
            update={"total_steps": 100, "eval_interval_steps": 50, "max_train_utterances": None, "learning_rate": 3e-3}
        )
        task = KS(config)
        task.check(real_commands)
        done = task.evaluate(log_mel, real_commands, tmp_path, Context())
        assert {row["split"] for row in done.predictions} == {"dev", "test"}
        for split, scores in done.scores.items():
            rows = [row for row in done.predictions if row["split"] == split]
            assert len({row["id"] for row in rows}) == len(rows) == 60
            assert all(row["correct"] == (row["reference"] == row["prediction"]) for row in rows)
            assert scores["accuracy"] == sum(row["correct"] for row in rows) / 60
            # s3prl's own figure of the same pass.
            assert scores["accuracy"] == pytest.approx(done.settings[f"{split}_recipe_metrics"]["accuracy"])
        assert done.scores["test"]["accuracy"] > 0.2

    def test_whole_dev_set_is_scored_once(
        self, speech_commands: SpeechCommandsData, upstream: Any, tmp_path: Path
    ) -> None:
        config = KS.presets["smoke"].model_copy(update={"total_steps": 2, "batch_size": 4})
        done = KS(config).evaluate(upstream, speech_commands, tmp_path / "w", Context())
        dev = [row["id"] for row in done.predictions if row["split"] == "dev"]
        assert dev == read_speech_commands(speech_commands)["dev"]["id"].tolist()
        assert {row["reference"] for row in done.predictions} == {"yes", "NULL", "_unknown_", "_silence_"}
        assert next(row for row in done.predictions if row["id"].startswith("yes/"))["duration_s"] == 0.4


def remove(*names: str) -> Callable[[SpeechCommandsData], None]:
    def harm(data: SpeechCommandsData) -> None:
        for name in names:
            shutil.rmtree(data.root.parent / name)

    return harm


def empty(name: str) -> Callable[[SpeechCommandsData], None]:
    def harm(data: SpeechCommandsData) -> None:
        for clip in (data.root.parent / name).glob("*.wav"):
            clip.unlink()

    return harm


def without_dev(data: SpeechCommandsData) -> None:
    for word in ("yes", "NULL", "tree"):
        for clip in (data.root / word).glob("dev*.wav"):
            clip.unlink()


def torn(data: SpeechCommandsData) -> None:
    next(data.root.glob("yes/train*.wav")).write_bytes(b"RIFF")


def other_rate(data: SpeechCommandsData) -> None:
    soundfile.write(next(data.test_root.glob("yes/*.wav")), [0.0] * 800, 8_000)


def no_samples(data: SpeechCommandsData) -> None:
    soundfile.write(next(data.test_root.glob("yes/*.wav")), [], 16_000)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (remove("commands"), r"Found nothing there.*download\.tensorflow\.org.*correct root "),
        (remove("commands_test"), "Found nothing there.*correct test_root "),
        (remove("commands/_background_noise_"), "none of '_silence_', which come from .*_background_noise_"),
        (remove("commands/yes"), "none of 'yes', which come from .*/commands/yes"),
        (remove("commands/tree"), "none of '_unknown_', which come from further words"),
        (remove("commands_test/_unknown_"), "Expected a folder _unknown_ in .*commands_test"),
        (remove("commands_test/_silence_"), "Expected a folder _silence_ in .*commands_test"),
        (empty("commands/yes"), r"Expected \.wav files in .*/commands/yes"),
        (empty("commands_test/yes"), r"Expected \.wav files in .*/commands_test/yes"),
        (without_dev, "Expected clips for the dev set"),
        (torn, "cannot be read"),
        (other_rate, "Expected 16 kHz audio. Found 8000 Hz in .*/commands_test/yes/"),
        (no_samples, "Found an empty file"),
    ],
)
def test_an_unusable_archive_is_refused_in_one_line(
    speech_commands: SpeechCommandsData, harm: Callable[[SpeechCommandsData], None], told: str
) -> None:
    KS(KS.presets["paper"]).check(speech_commands)
    harm(speech_commands)
    with pytest.raises(UserError, match=told) as caught:
        KS(KS.presets["paper"]).check(speech_commands)
    assert "\n" not in str(caught.value)


def test_other_rates_are_resampled_on_request(
    speech_commands: SpeechCommandsData, upstream: Any, tmp_path: Path
) -> None:
    other_rate(speech_commands)
    data = speech_commands.model_copy(update={"resample": True})
    config = KS.presets["smoke"].model_copy(update={"total_steps": 1, "batch_size": 2})
    KS(config).check(data)
    assert KS(config).evaluate(upstream, data, tmp_path / "w", Context()).scores["test"]["accuracy"] >= 0
