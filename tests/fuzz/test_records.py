"""Records, predictions and latencies that somebody edited: read by reports and comparisons, or one short error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.comparison.changes import find_changes
from bench.comparison.compare import compare
from bench.comparison.rows import find_rows
from bench.leaderboard.comparable import read_board
from bench.reports.plots.layer_weights import layer_weights_table
from bench.reports.plots.sources import read_sources
from bench.reports.tables.leaderboards import report_groups
from tests.fuzz.damage import damaged_json
from tests.fuzz.harness import PROFILES, fuzz

ROWS = ("fbank", "student")
RECORD: dict[str, Any] = {
    "schema_version": 1,
    "cell": {"model": "student", "task": "er", "seed": 0},
    "card": {"compressor": "dphubert", "teacher": "fbank", "sparsity": 0.75, "params": 9, "size_bytes": 36, "macs": 5},
    "preset": "paper",
    "data": "mini-1",
    "data_sha256": "0" * 64,
    "protocol": "s3prl",
    "scores": {"test": {"accuracy": 0.5}, "dev": {"accuracy": 0.5}},
    "settings": {
        "learning_rate": 0.001,
        "layer_weights": [0.5, 0.5],
        "folds": {"0": {"arguments": {"train": {"total_steps": 3}}, "num_test_utterances": 4}},
        "num_test_utterances": 8,
    },
    "provenance": {"weights_hash": "0", "seconds": 1.5},
}
PREDICTION: dict[str, Any] = {
    "id": "a",
    "split": "test",
    "reference": "calm",
    "prediction": "calm",
    "correct": True,
    "counts": {"accuracy": [1, 1]},
    "duration_s": 1.5,
    "fold": 0,
    "speaker": "s1",
}
SPREAD = {"median": 0.5, "low": 0.4, "high": 0.6, "repeats": 5}
LATENCY: dict[str, Any] = {
    "schema_version": 1,
    "model": "student",
    "row": "student",
    "measured": "2026-01-01T00:00:00+00:00",
    "machine": {"cpu": "x", "num_cores": 2, "torch": "2", "system": "s", "load": 0.1},
    "lengths_samples": {"short": [16000]},
    "cpu": {
        "device": "cpu",
        "num_threads": 1,
        "rtf": SPREAD,
        "latency_ms": {"short": SPREAD},
        "first_call_ms": 3.0,
        "peak_memory_bytes": 1000,
        "speedup": SPREAD,
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two rows with a cell each."""
    # Short, because messages name files and have 400 characters.
    folder = tmp_path_factory.mktemp("r")
    config = {
        "teacher": "fbank",
        "data": {"tasks": {}},
        "preset": "paper",
        "models": {"fbank": {"reference": "fbank"}, "student": {"compressor": "dphubert"}},
        "tasks": {"er": {}},
        "seeds": [0],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for row in ROWS:
        cell = folder / "cells" / row
        cell.mkdir(parents=True)
        record = {**RECORD, "cell": {"model": row, "task": "er", "seed": 0}}
        (cell / "er-seed0.json").write_text(json.dumps(record))
        (cell / "er-seed0.predictions.jsonl").write_text(
            "".join(json.dumps({**PREDICTION, "id": name}) + "\n" for name in "bcdefgh")
        )
    (folder / "latency").mkdir()
    (folder / "latency" / "student.json").write_text(json.dumps(LATENCY))
    # What is whole is read; and what is imported here is not in the bounds of memory that follow.
    reported(folder)
    compared(folder)
    return folder


def reported(run: Path) -> None:
    for group in report_groups([read_board(run)]):
        group.texts()
    layer_weights_table(read_sources([run]))


def compared(run: Path) -> None:
    rows = find_rows(ROWS, run, run)
    compare(rows, "test", "speaker")
    find_changes(rows, "test")


def replacing(path: Path, read: Callable[[], object]) -> Callable[[bytes], None]:
    """Return what reads a run with other content in one of its files."""
    whole = path.read_bytes()

    def action(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read()
        finally:
            path.write_bytes(whole)

    return action


@pytest.mark.parametrize("profile", PROFILES)
def test_records(profile: str, run: Path) -> None:
    examples = [
        json.dumps({**RECORD, **change}).encode()
        for change in (
            {"scores": {"test": {"accuracy": float("nan")}}},
            {"scores": {}},
            {"scores": {"test": {}}},
            {"cell": []},
            {"settings": {"learning_rate": []}},
            {"settings": {"folds": []}},
            {"settings": {"layer_weights": ["a"]}},
            {"card": {**RECORD["card"], "params": 2**70}},
            {"cell": {**RECORD["cell"], "model": "../x"}},
            {"data": "\x1b]0;owned\x07"},
        )
    ]
    path = run / "cells" / "student" / "er-seed0.json"
    both = replacing(path, lambda: (reported(run), compared(run)))
    fuzz(
        both, damaged_json(RECORD), profile, examples=[b"", b"null", b"[" * 9_999, b"\xff", *examples], max_examples=25
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_predictions(profile: str, run: Path) -> None:
    lines = [b"null\n", b"3\n", b"[]\n", b"{}\n", b"\xff\n", b"[" * 9_999 + b"\n"]
    changes: list[dict[str, Any]] = [
        {"counts": 1},
        {"counts": {"accuracy": [1]}},
        {"counts": {"accuracy": [0, 0]}},
        {"counts": {"accuracy": ["a", "b"]}},
        {"counts": {}},
        {"duration_s": "long"},
        {"id": 3},
        {"reference": [[]]},
        {"speaker": {}},
    ]
    edited = [json.dumps({**PREDICTION, **change}).encode() + b"\n" for change in changes]
    action = replacing(run / "cells" / "student" / "er-seed0.predictions.jsonl", lambda: compared(run))
    whole = (run / "cells" / "fbank" / "er-seed0.predictions.jsonl").read_bytes()
    damaged = damaged_json({**PREDICTION, "id": "b"}).map(lambda line: line + b"\n" + whole.partition(b"\n")[2])
    fuzz(action, damaged, profile, examples=[b"", *lines, *edited], max_examples=15)


@pytest.mark.parametrize("profile", PROFILES)
def test_latencies(profile: str, run: Path) -> None:
    examples = [b"", b"[]", json.dumps({**LATENCY, "cpu": {**LATENCY["cpu"], "rtf": "fast"}}).encode()]
    action = replacing(run / "latency" / "student.json", lambda: reported(run))
    fuzz(action, damaged_json(LATENCY), profile, examples=examples, max_examples=30)


def test_a_wrong_line_is_named(run: Path) -> None:
    from tests.fuzz.harness import ends_well

    path = run / "cells" / "student" / "er-seed0.predictions.jsonl"
    message = ends_well(replacing(path, lambda: compared(run)), path.read_bytes() + b"3\n")
    assert message is not None
    assert f"{path}, line 8" in message
