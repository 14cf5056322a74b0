"""Measured latency on disk, and what the leaderboard shows of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.store.latency import (
    COLUMNS,
    latency_columns,
    read_latencies,
    write_latency,
)
from tests.helpers.latency import record, spread, timing


def test_seeds_of_a_row_are_read_together_and_averaged(tmp_path: Path) -> None:
    for seed, rtf in ((0, 0.1), (1, 0.3)):
        write_latency(tmp_path, record(f"a-seed{seed}", "a", timing(rtf)))
    write_latency(tmp_path, record("teacher", "teacher", timing(0.5, speedup=None)))
    found = read_latencies(tmp_path)
    assert {row: [each.model for each in records] for row, records in found.items()} == {
        "a": ["a-seed0", "a-seed1"],
        "teacher": ["teacher"],
    }
    columns = latency_columns(found)["a"]
    assert list(columns) == ["measured_on", *COLUMNS]
    assert columns["measured_on"] == "c, torch 2"
    assert columns["rtf"] == pytest.approx(0.2)
    assert columns["latency_ms_longer"] == pytest.approx(800)
    assert columns["peak_memory_mb"] == 50
    assert "speedup" not in latency_columns(found)["teacher"]


def test_columns_that_a_seed_lacks_are_absent() -> None:
    whole = record("a-seed0", "a", timing(0.1), timing(0.01, "cuda"))
    part = record("a-seed1", "a", timing(0.1, throughput={"batch_8": spread(20)}))
    assert latency_columns({"a": [whole]})["a"]["gpu_rtf"] == 0.01
    columns = latency_columns({"a": [whole, part]})["a"]
    assert columns["throughput_batch_8"] == 20
    assert not {"throughput_batch_32", "gpu_rtf"} & columns.keys()
    assert latency_columns({"a": []}) == {}


def test_a_row_has_figures_of_one_machine() -> None:
    many = [
        record("a-seed0", "a", timing(0.1)),
        record("a-seed1", "a", timing(0.2)),
        record("a-seed2", "a", timing(9), name="slow"),
    ]
    split = [record("b-seed0", "b", timing(9), name="slow"), record("b-seed1", "b", timing(0.3))]
    columns = latency_columns({"a": many, "b": split, "teacher": [record("teacher", "teacher", timing(0.4))]})
    assert {row: (found["measured_on"], found["rtf"]) for row, found in columns.items()} == {
        "a": ("c, torch 2", pytest.approx(0.15)),
        "b": ("c, torch 2", pytest.approx(0.3)),  # It measured more rows of the run.
        "teacher": ("c, torch 2", pytest.approx(0.4)),
    }


def test_all_lengths_are_another_measurement() -> None:
    usual = record("a", "a", timing(0.1))
    assert usual.model_copy(update={"lengths_samples": {"short": (1, 2)}}).measured_on == "c, torch 2, all lengths"


def test_a_run_that_was_not_measured(tmp_path: Path) -> None:
    assert read_latencies(tmp_path) == {}


def test_a_torn_file_is_told(tmp_path: Path) -> None:
    path = write_latency(tmp_path, record("a", "a", timing(0.1)))
    path.write_text(path.read_text()[:100])
    with pytest.raises(UserError, match=r"a\.json.*Delete it"):
        read_latencies(tmp_path)


def test_cost_of_1000_hours_is_that_of_the_fastest_way() -> None:
    # 20 hours of audio an hour, so 50 hours of the machine.
    assert timing(0.1).cost_of_1000_hours(3.0) == pytest.approx(150)
    assert timing(0.1, throughput={}).cost_of_1000_hours(3.0) == pytest.approx(300)
