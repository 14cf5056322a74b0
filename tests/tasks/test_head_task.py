"""What all tasks do alike: a corpus is read once a run, whatever the number of models and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from bench.cli.choices import resolved_run
from bench.config.later_settings import with_later_settings
from bench.contracts import Context
from bench.errors import UserError
from bench.runs.run import Run
from tasks.corpora.speech_commands import SpeechCommandsData
from tasks.ks import KS

QUICK = {"total_steps": 1, "eval_interval_steps": 1, "save_interval_steps": 1}


@pytest.fixture
def task() -> KS:
    return KS(KS.presets["smoke"].model_copy(update=QUICK))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[SpeechCommandsData]:
    """What `KS.read` is asked for."""
    asked: list[SpeechCommandsData] = []
    read = KS.read

    def noting(self: KS, data: Any) -> Any:
        asked.append(data)
        return read(self, data)

    monkeypatch.setattr(KS, "read", noting)
    return asked


def test_a_run_reads_a_corpus_once(
    speech_commands: SpeechCommandsData, reads: list[SpeechCommandsData], tmp_path: Path
) -> None:
    data_file = tmp_path / "own.yaml"
    data_file.write_text(yaml.safe_dump({"tasks": {"ks": speech_commands.model_dump(mode="json")}}))
    config = resolved_run(
        models="fbank,random:mini-hubert",
        tasks="ks",
        data=str(data_file),
        preset="smoke",
        seeds="0,1",
        assignments=[f"tasks.ks.{name}={value}" for name, value in QUICK.items()],
    )
    outcome = Run(config, tmp_path / "run", "cpu").execute()
    assert outcome.failures == {}
    assert len(list((tmp_path / "run" / "cells").glob("*/*.json"))) == 4
    assert len(reads) == 1


def test_what_check_read_is_evaluated(
    task: KS, speech_commands: SpeechCommandsData, reads: list[SpeechCommandsData], upstream: Any, tmp_path: Path
) -> None:
    alone = task.evaluate(upstream, speech_commands, tmp_path / "alone", Context())
    task.check(speech_commands)
    assert task.evaluate(upstream, speech_commands, tmp_path / "checked", Context()) == alone
    assert len(reads) == 2


def test_another_corpus_is_read(task: KS, speech_commands: SpeechCommandsData, reads: list[SpeechCommandsData]) -> None:
    other = speech_commands.model_copy(update={"resample": True})
    task.check(speech_commands)
    task.checked(other)
    assert reads == [speech_commands, other]


def test_audio_that_goes_away_after_the_check_is_told(
    task: KS, speech_commands: SpeechCommandsData, upstream: Any, tmp_path: Path
) -> None:
    task.check(speech_commands)
    clip = next((speech_commands.root / "yes").glob("train*.wav"))
    clip.unlink()
    with pytest.raises(UserError, match=rf"Expected {clip}, which was there .*Restore it, and run again\."):
        task.evaluate(upstream, speech_commands, tmp_path / "work", Context())


def utterances(num_per_label: int) -> pd.DataFrame:
    """Make a table whose shortest utterances have the first names."""
    return pd.DataFrame(
        [
            {"id": f"{label}{number:03d}", "label": label, "num_samples": 100 + number}
            for label in ("a", "b", "c")
            for number in range(num_per_label)
        ]
    )


class TestLimits:
    def limited(self, frame: pd.DataFrame, **changes: Any) -> pd.DataFrame:
        config = KS.presets["paper"].model_copy(update=changes)
        return config.limited({"train": frame}, by="label")["train"]

    def test_no_limit_takes_all(self) -> None:
        pd.testing.assert_frame_equal(self.limited(utterances(5)), utterances(5))

    def test_a_subset_is_drawn_evenly_and_at_random(self) -> None:
        drawn = self.limited(utterances(400), max_train_utterances=300)
        assert drawn["label"].value_counts().to_dict() == {"a": 100, "b": 100, "c": 100}
        # The mean of 300 of 1,200 utterances; the shortest would have 149.5.
        assert abs(drawn["num_samples"].mean() - utterances(400)["num_samples"].mean()) < 20
        assert drawn["id"].is_monotonic_increasing

    def test_a_subset_depends_on_ids_and_draw_alone(self) -> None:
        drawn = self.limited(utterances(50), max_train_utterances=30)
        shuffled = utterances(50).sample(frac=1, random_state=0, ignore_index=True)
        assert set(self.limited(shuffled, max_train_utterances=30)["id"]) == set(drawn["id"])
        assert set(self.limited(utterances(50), max_train_utterances=15)["id"]) < set(drawn["id"])
        assert set(self.limited(utterances(50), max_train_utterances=30, subset_draw=1)["id"]) != set(drawn["id"])

    def test_the_shortest_on_demand(self) -> None:
        drawn = self.limited(utterances(50), max_train_utterances=30, subset_draw="shortest")
        assert drawn["num_samples"].max() == 109

    def test_kept_settings_say_which_subset_they_mean(self) -> None:
        def brought_up_to_date(**changes: Any) -> Any:
            kept = KS.presets["paper"].model_copy(update=changes).model_dump(mode="json")
            del kept["subset_draw"]
            return with_later_settings("bench.tasks", "ks", kept, "paper")["subset_draw"]

        assert brought_up_to_date(max_train_utterances=100) == "shortest"
        assert brought_up_to_date() == 0

    def test_long_utterances_are_left_out(self) -> None:
        frame = utterances(5)
        short = self.limited(frame, max_duration_s=102 / 16_000)
        assert short["num_samples"].max() == 102
        assert len(short) == 9
        with pytest.raises(UserError, match=r"train.*max_duration_s"):
            self.limited(frame, max_duration_s=0.001)
