"""The tidy table of scores."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.leaderboard.tidy import COLUMNS, tidy_scores
from tests.helpers.records import record


def test_one_row_per_seed_split_and_metric() -> None:
    first = record("small", "asr", 0, "teacher", wer=0.2, cer=0.1)
    second = record("small", "asr", 1, "teacher", wer=0.3, cer=0.1)
    table = tidy_scores([first, second])
    assert list(table.columns) == COLUMNS
    test = table[table["split"] == "test"]
    assert sorted(zip(test["seed"], test["metric"], strict=True)) == [(0, "cer"), (0, "wer"), (1, "cer"), (1, "wer")]
    assert list(test[test["metric"] == "wer"]["value"]) == pytest.approx([20, 30])
    assert set(test["teacher"]) == {"teacher"}
    assert not test["is_superb"].any()
    assert pd.isna(test["num_utterances"]).all()


def test_no_records_are_an_empty_table() -> None:
    table = tidy_scores([])
    assert table.empty
    assert list(table.columns) == COLUMNS
