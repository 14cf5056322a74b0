"""Every prediction's counts: they bear the record's scores out, and are those of the metrics they belong to."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from rapidfuzz.distance import Levenshtein

from bench.contracts import Context
from tasks.asr import ASR
from tasks.bridge import s3prl_compat
from tasks.bridge.slot_counts import slot_counts
from tasks.er import ER
from tasks.ic import IC
from tasks.ks import KS
from tasks.metrics.counts import transcript_counts
from tasks.mini.corpora import MiniCorpora
from tasks.pr import PR
from tasks.sf import SF
from tasks.sid import SID


def error_rate(rows: list[dict[str, Any]], split: Callable[[str], list[str]]) -> float:
    edits = sum(Levenshtein.distance(split(row["reference"]), split(row["prediction"])) for row in rows)
    return edits / sum(len(split(row["reference"])) for row in rows)


def scored_otherwise(task: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Score predictions by another implementation than the suite's."""
    if task == "asr":
        return {"wer": error_rate(rows, lambda text: text.split(" ")), "cer": error_rate(rows, list)}
    if task == "pr":
        return {"per": error_rate(rows, lambda text: text.split(" "))}
    if task == "sf":
        s3prl_compat.install()
        metric = import_module("s3prl.metric.slot_filling")
        said_and_meant = [row["prediction"] for row in rows], [row["reference"] for row in rows]
        return {name: getattr(metric, name)(*said_and_meant) for name in ("slot_type_f1", "slot_value_cer")}
    folds: dict[int, list[bool]] = {}
    for row in rows:
        folds.setdefault(row.get("fold", 0), []).append(row["prediction"] == row["reference"])
    return {"accuracy": mean(mean(right) for right in folds.values())}


@pytest.mark.slow
@pytest.mark.parametrize("task", [ASR, ER, IC, KS, PR, SF, SID], ids=lambda task: task.name)
def test_the_ratio_of_sums_is_the_score(
    task: Any, small_corpora: MiniCorpora, make_upstream: Any, tmp_path: Path
) -> None:
    config = task.presets["smoke"].model_copy(update={"folds": (0, 3)} if task is ER else {})
    (layout, *_) = task.layouts.values()
    data = layout.model_validate(small_corpora.data().tasks[task.name])
    evaluation = task(config).evaluate(make_upstream(), data, tmp_path, Context())
    for split, scores in evaluation.scores.items():
        rows = [row for row in evaluation.predictions if row["split"] == split]
        counts = [row["counts"] for row in rows]
        assert {name for row in counts for name in row} == scores.keys()
        assert scores == pytest.approx(scored_otherwise(task.name, rows), abs=1e-9)
        for name, value in scores.items():
            numerator, denominator = (sum(row[name][place] for row in counts) for place in (0, 1))
            assert numerator / denominator == pytest.approx(value, abs=1e-9)


def test_edits_of_transcripts() -> None:
    assert transcript_counts("A CAB", "A CAR NOW") == {"wer": [2, 2], "cer": [5, 5]}


def test_slots_that_were_not_said_count_whole() -> None:
    meant = "PLAY B-artist ANNA E-artist ON B-day MONDAY E-day"
    said = "PLAY B-artist ANNE E-artist"
    counts = slot_counts(meant, said)
    assert counts["slot_type_f1"] == [pytest.approx(2 / 3), 1]
    assert counts["slot_value_cer"] == [1 + len("MONDAY"), len("ANNA") + len("MONDAY")]
