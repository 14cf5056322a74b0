"""What all tasks do alike: a corpus is read once a run, whatever the number of models and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cli.choices import resolved_run
from bench.contracts import Context
from bench.errors import UserError
from bench.runner.run import Run
from tasks.ks import KS, KSData

QUICK = {"total_steps": 1, "eval_interval_steps": 1, "save_interval_steps": 1}


@pytest.fixture
def task() -> KS:
    return KS(KS.presets["smoke"].model_copy(update=QUICK))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[KSData]:
    """What `KS.read` is asked for."""
    asked: list[KSData] = []
    read = KS.read

    def noting(self: KS, data: Any) -> Any:
        asked.append(data)
        return read(self, data)

    monkeypatch.setattr(KS, "read", noting)
    return asked


def test_a_run_reads_a_corpus_once(speech_commands: KSData, reads: list[KSData], tmp_path: Path) -> None:
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
    task: KS, speech_commands: KSData, reads: list[KSData], upstream: Any, tmp_path: Path
) -> None:
    alone = task.evaluate(upstream, speech_commands, tmp_path / "alone", Context())
    task.check(speech_commands)
    assert task.evaluate(upstream, speech_commands, tmp_path / "checked", Context()) == alone
    assert len(reads) == 2


def test_another_corpus_is_read(task: KS, speech_commands: KSData, reads: list[KSData]) -> None:
    other = speech_commands.model_copy(update={"resample": True})
    task.check(speech_commands)
    task.checked(other)
    assert reads == [speech_commands, other]


def test_audio_that_goes_away_after_the_check_is_told(
    task: KS, speech_commands: KSData, upstream: Any, tmp_path: Path
) -> None:
    task.check(speech_commands)
    clip = next((speech_commands.root / "yes").glob("train*.wav"))
    clip.unlink()
    with pytest.raises(UserError, match=rf"Expected {clip}, which was there .*Restore it, and run again\."):
        task.evaluate(upstream, speech_commands, tmp_path / "work", Context())
