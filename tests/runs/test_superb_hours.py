"""The table of GPU hours in docs/reference/estimates.md is the one that `benchmarks/superb_hours.py` prints."""

from __future__ import annotations

import pytest

from bench.runs.estimates import FEATURES_TFLOPS
from benchmarks import superb_hours
from benchmarks.cluster_estimates import tasks
from benchmarks.superb_hours import BF16_TFLOPS
from tests.conftest import REPOSITORY


def test_the_page_has_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    superb_hours.main(FEATURES_TFLOPS, BF16_TFLOPS)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    if {"sd", "qbe"} - set(tasks()):
        rows = rows[:-1]  # The sum is over all ten tasks.
    page = (REPOSITORY / "docs" / "reference" / "estimates.md").read_text(encoding="utf-8").splitlines()
    assert len(rows) > 8
    assert [row for row in rows if row not in page] == []


def test_lower_precision_speeds_up_the_model_alone() -> None:
    audio_hours, float32, bf16, head = superb_hours.hours_of("asr", 10.0, 100.0)
    assert audio_hours > 10_000
    assert float32 == pytest.approx(10 * bf16)
    # The recurrent head trains on everything, at about 2.1 GMACs per second of speech, thrice.
    assert head == pytest.approx(2 * 3 * 2.16e9 * audio_hours * 3600 / 1e13 / 3600, rel=0.1)
