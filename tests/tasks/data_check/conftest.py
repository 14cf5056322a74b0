"""Corpora to check."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from tasks.commands import data
from tasks.data_check import remarks as remarks_module
from tests.helpers.data_check import Check, plain


@pytest.fixture(autouse=True)
def two_are_enough_for_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the corpora of these tests a remark."""
    monkeypatch.setattr(remarks_module, "FEW_IN_DEV", 2)


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Check a data file of these entries; return the report on each corpus, and the exit code."""

    def run(entries: Mapping[str, Any], *options: str, audio: Mapping[str, Any] | None = None) -> dict[str, Any]:
        content: dict[str, Any] = {"tasks": {task: plain(entry) for task, entry in entries.items()}}
        if audio:
            content["audio"] = plain(audio)
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
        done = CliRunner().invoke(
            data, ["check", str(tmp_path / "mine.yaml"), "--json", *options], standalone_mode=False
        )
        if done.exception:
            raise done.exception
        report = json.loads(done.stdout)
        assert report["usable"] == all(corpus["usable"] for corpus in report["corpora"])
        assert done.return_value == (0 if report["usable"] else 1)
        return {corpus["name"]: corpus for corpus in report["corpora"]}

    return run


@pytest.fixture
def manifest(tmp_path: Path, write_tone: Callable[..., None]) -> Callable[..., Path]:
    """Write a manifest of tones: six utterances of two classes in train, two in dev and test, all different."""

    def write(change: Callable[[list[dict[str, str]]], None] = lambda _: None, name: str = "own.csv") -> Path:
        rows: list[dict[str, str]] = []
        for split, count in (("train", 12), ("dev", 2), ("test", 2)):
            for index in range(count):
                path = f"audio/{split}-{index}.wav"
                write_tone(tmp_path / path, 0.5, 100.0 * (len(rows) + 1))
                text = ("YES", "NO")[index % 2]
                rows.append({"path": path, "split": split, "label": text, "text": text, "speaker": f"{split}{index}"})
        change(rows)
        pd.DataFrame(rows).to_csv(tmp_path / name, index=False)
        return tmp_path / name

    return write
