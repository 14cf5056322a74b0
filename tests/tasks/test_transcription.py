"""Dev and test of CTC heads are scored in batches of about one length, with the results of single utterances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import registry
from bench.contracts import Context, Evaluation
from tasks.bridge import transcription
from tasks.bridge.transcription import LengthBuckets

TASKS = ("asr", "pr", "sf")


class TestBuckets:
    def test_every_utterance_once_with_its_like(self) -> None:
        batches = list(LengthBuckets([30, 10, 31, 11, 90, 10], 62))
        assert batches == [[1, 5, 3], [0, 2], [4]]
        assert len(LengthBuckets([30, 10, 31, 11, 90, 10], 62)) == 3

    def test_a_batch_with_its_padding_is_limited(self) -> None:
        lengths = [1 + 7 * number % 50 for number in range(200)]
        for batch in LengthBuckets(lengths, 100):
            assert max(lengths[position] for position in batch) * len(batch) <= 100 or len(batch) == 1


@pytest.fixture
def evaluated(
    request: pytest.FixtureRequest, rows_of: Any, write_manifest: Any, upstream: Any, tmp_path: Path
) -> dict[float, Evaluation]:
    """A task's evaluation in buckets of 64 s, and of one utterance each."""
    plugin = registry.load("bench.tasks", request.param)
    lexicon = {"lexicon": tmp_path / "lexicon.txt"} if request.param == "pr" else {}
    data = plugin.layouts["manifest"](manifest=write_manifest(rows_of(request.param)), **lexicon)
    # A head that has learned little prefers no blank: padding would add characters.
    config = plugin.presets["smoke"].model_copy(
        update={"total_steps": 4, "eval_interval_steps": 2, "max_eval_utterances": None, "learning_rate": 1e-2}
    )
    found = {}
    for seconds in (64.0, 0.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transcription, "BUCKET_S", seconds)
            found[seconds] = plugin(config).evaluate(upstream, data, tmp_path / str(seconds), Context())
    return found


@pytest.mark.parametrize("evaluated", TASKS, indirect=True)
def test_batches_change_no_result(evaluated: dict[float, Evaluation]) -> None:
    together, alone = evaluated[64.0], evaluated[0.0]
    assert [dict(row) for row in together.predictions] == [dict(row) for row in alone.predictions]
    assert together.scores == alone.scores
    assert together.settings["loss"] == pytest.approx(alone.settings["loss"], rel=1e-5)


@pytest.mark.parametrize("protocol", ["cached", "s3prl"])
def test_only_unpadded_features_are_scored_in_buckets(
    protocol: Any, rows_of: Any, write_manifest: Any, upstream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``s3prl``, batches are the recipe's."""
    made = []
    monkeypatch.setattr(transcription, "LengthBuckets", lambda *a: made.append(a) or LengthBuckets(*a))
    plugin = registry.load("bench.tasks", "asr")
    data = plugin.layouts["manifest"](manifest=write_manifest(rows_of("asr")))
    config = plugin.presets["smoke"].model_copy(update={"total_steps": 2, "eval_interval_steps": 2})
    plugin(config).evaluate(upstream, data, tmp_path / "work", Context(protocol=protocol))
    assert bool(made) == (protocol == "cached")
