"""Records on disk, and the leaderboard derived from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.errors import UserError
from bench.leaderboard.collate import leaderboard, write_leaderboard
from bench.profiling import model_card
from bench.store.records import Cell, ModelCard, Record, RecordStore, audio_differences
from bench.upstream import load_upstream

TEACHER = ModelCard(params=1000, size_bytes=4000, macs=5_000_000_000_000, macs_superb=5_000_000_000_001)
STUDENT = ModelCard(
    compressor="dphubert", teacher="t", target_sparsity=0.75, sparsity=0.7512, params=249, size_bytes=996, macs=7
)


def record(card: ModelCard, model: str, task: str, seed: int, **scores: float) -> Record:
    return Record(
        cell=Cell(model=model, task=task, seed=seed),
        card=card,
        preset="mini",
        data="mini-1",
        protocol="s3prl",
        scores={"test": scores, "dev": {name: 2 * value for name, value in scores.items()}},
        settings={"steps": 3},
        provenance={},
    )


@pytest.mark.parametrize(
    ("recipe", "target", "target_sparsity"),
    [
        ({"sparsity": 0.75, "target": "params", "params": None}, "params", 0.75),
        ({"sparsity": 0.75, "target": "macs", "params": None}, "macs", None),
        ({"sparsity": 0.75, "target": "params", "params": 600_000}, "params", 0.4),
        ({"sparsity": 0.5}, None, 0.5),
        ({}, None, None),
    ],
)
def test_the_card_says_what_compression_aimed_at(
    recipe: dict[str, Any], target: str | None, target_sparsity: float | None
) -> None:
    card = model_card(load_upstream("fbank"), {"compressor": "a", "teacher_params": 1_000_000, "recipe": recipe})
    assert card.target == target
    assert card.target_sparsity == (None if target_sparsity is None else pytest.approx(target_sparsity))


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    store = RecordStore(tmp_path)
    store.write(record(TEACHER, "teacher", "ks", 0, accuracy=0.9), [{"id": "a", "reference": "ä"}])
    store.write(record(STUDENT, "dphubert", "ks", 0, accuracy=0.8), [])
    store.write(record(STUDENT, "dphubert", "ks", 1, accuracy=0.7), [])
    store.write(record(STUDENT, "dphubert", "asr", 0, wer=1.25, cer=0.5), [])
    return store


def test_rows_are_means_in_percent_with_sample_deviation(store: RecordStore) -> None:
    table = leaderboard(store, order=["teacher", "dphubert"]).set_index("model")
    assert list(table.index) == ["teacher", "dphubert"]
    assert table.loc["dphubert", "ks_accuracy"] == pytest.approx(75.0)
    assert table.loc["dphubert", "ks_accuracy_std"] == pytest.approx(50**0.5)
    assert table.loc["dphubert", "asr_wer"] == pytest.approx(125.0)
    assert pd.isna(table.loc["teacher", "asr_wer"])
    assert pd.isna(table.loc["teacher", "ks_accuracy_std"])


def test_learning_rates_stand_beside_the_scores(store: RecordStore) -> None:
    searched = record(STUDENT, "dphubert", "ks", 2, accuracy=0.6)
    table = leaderboard([*store, searched.model_copy(update={"settings": {"learning_rate": 0.01}})])
    assert list(table["ks_learning_rate"].dropna()) == [0.01]
    assert "asr_learning_rate" not in table.columns


def test_dev_scores_are_another_split(store: RecordStore) -> None:
    table = leaderboard(store, "dev").set_index("model")
    assert table.loc["teacher", "ks_accuracy"] == pytest.approx(180.0)


def test_counts_stay_whole_numbers_in_the_csv(store: RecordStore, tmp_path: Path) -> None:
    text = write_leaderboard(leaderboard(store), tmp_path).read_text()
    assert ",5000000000000,5000000000001," in text
    assert ",7,," in text


def test_a_finished_cell_is_read_back_whole(store: RecordStore) -> None:
    cell = Cell(model="teacher", task="ks", seed=0)
    assert store.read(cell) == record(TEACHER, "teacher", "ks", 0, accuracy=0.9)
    assert store.read(Cell(model="teacher", task="ks", seed=1)) is None
    lines = (store.folder / "teacher" / "ks-seed0.predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"id": "a", "reference": "ä"}]


def test_a_torn_record_names_itself_and_the_way_out(store: RecordStore) -> None:
    path = store.path(Cell(model="teacher", task="ks", seed=0))
    path.write_text(path.read_text()[:50])
    with pytest.raises(UserError, match=r"ks-seed0\.json\. .*Delete it"):
        list(store)


def test_an_empty_run_has_an_empty_leaderboard(tmp_path: Path) -> None:
    assert leaderboard(RecordStore(tmp_path)).empty


def test_rows_that_heard_other_bits_of_the_same_corpora_are_told() -> None:
    records = [
        record(TEACHER, "teacher", "ks", 0, accuracy=0.9).model_copy(update={"audio_sha256": "a" * 64}),
        record(STUDENT, "dphubert", "ks", 0, accuracy=0.8).model_copy(update={"audio_sha256": "b" * 64}),
        record(STUDENT, "dphubert", "asr", 0, wer=0.8).model_copy(update={"audio_sha256": "c" * 64}),
        record(TEACHER, "teacher", "asr", 0, wer=0.8),
    ]
    assert audio_differences(records[:1] + records[2:]) == []
    (line,) = audio_differences(records)
    assert line.startswith("ks: the audio of mini-1 differs in bits between rows (teacher aaaaaaaa, dphubert bbbbbbbb)")


def test_sizes_and_rates_of_a_row_are_those_of_all_its_seeds(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    for seed, (params, rate) in enumerate([(100, 1e-3), (100, 1e-3), (130, 1e-2)]):
        card = STUDENT.model_copy(update={"params": params, "sparsity": 1 - params / 1000})
        one = record(card, "dphubert-0.9", "ks", seed, accuracy=0.5)
        store.write(one.model_copy(update={"settings": {"learning_rate": rate}}), [])
    row = leaderboard(store).iloc[0]
    assert row["params"] == 110
    assert row["sparsity"] == pytest.approx(0.89)
    assert pd.isna(row["ks_learning_rate"])
