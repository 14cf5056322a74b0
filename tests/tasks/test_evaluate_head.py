"""The search of the learning rate: on dev, once for all seeds, going on where it was interrupted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import Context, Evaluation
from bench.errors import UserError
from tasks.corpora.speech_commands import SpeechCommandsData
from tasks.ks import KS

CONFIG = KS.presets["smoke"].model_copy(
    update={"total_steps": 12, "eval_interval_steps": 4, "save_interval_steps": 4, "learning_rate": "auto"}
)
RATES = (1e-6, 1e-2, 1e4)
"""The first learns nothing in 12 steps, the last throws the weights about."""


@pytest.fixture
def evaluate(speech_commands: SpeechCommandsData, log_mel: Any, tmp_path: Path) -> Callable[..., Evaluation]:
    def evaluate_seed(seed: int = 0, **changes: Any) -> Evaluation:
        # Without validation: the rates that fail are beyond what a user may set.
        config = CONFIG.model_copy(update={"learning_rates": RATES, **changes})
        context = Context(seed=seed, shared_workdir=tmp_path / "shared")
        return KS(config).evaluate(log_mel, speech_commands, tmp_path / f"seed{seed}", context)

    return evaluate_seed


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, tuple[str, ...]]]:
    """Learning rate and scored splits of every head that is trained."""
    from tasks.bridge import run as s3prl_bridge

    seen: list[tuple[float, tuple[str, ...]]] = []
    run_recipe = s3prl_bridge.run_recipe

    def counting(recipe: Any, arguments: Any, *rest: Any, **options: Any) -> Any:
        seen.append((arguments["build_optimizer"]["conf"]["lr"], tuple(options["scored"])))
        return run_recipe(recipe, arguments, *rest, **options)

    monkeypatch.setattr(s3prl_bridge, "run_recipe", counting)
    return seen


def test_takes_what_does_best_on_dev(evaluate: Any) -> None:
    alone = {rate: evaluate(learning_rate=rate).scores["dev"]["accuracy"] for rate in RATES}
    found = evaluate()
    assert found.settings["learning_rate_search"]["scores"] == {str(rate): alone[rate] for rate in RATES}
    assert found.settings["learning_rate"] == max(RATES, key=lambda rate: alone[rate]) == 1e-2
    assert found.settings["arguments"]["build_optimizer"]["conf"]["lr"] == 1e-2


def test_the_result_is_that_of_the_rate_given(evaluate: Any) -> None:
    for seed in (0, 1):
        searched, given = evaluate(seed), evaluate(seed, learning_rate=1e-2)
        assert searched.scores == given.scores
        assert searched.predictions == given.predictions


def test_test_is_not_touched_by_the_search_and_seeds_share_it(evaluate: Any, trainings: Any) -> None:
    evaluate(seed=1)
    assert trainings == [*((rate, ("dev",)) for rate in RATES), (1e-2, ("dev", "test"))]
    evaluate(seed=2)
    evaluate(seed=0)
    assert trainings[4:] == [(1e-2, ("dev", "test"))] * 2


def test_interrupted_it_goes_on(evaluate: Any, trainings: Any, log_mel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.heads import evaluate_head

    kept = evaluate_head.write_sealed_json

    def killed(path: Path, value: object) -> None:
        if path.name == "10000.0.json":
            raise KeyboardInterrupt
        kept(path, value)

    monkeypatch.setattr(evaluate_head, "write_sealed_json", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate()
    monkeypatch.setattr(evaluate_head, "write_sealed_json", kept)
    trainings.clear()
    evaluate()
    assert [rate for rate, scored in trainings if scored == ("dev",)] == [1e4]


def test_a_damaged_score_is_named_and_found_again(
    evaluate: Any, trainings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = evaluate()
    (path,) = (tmp_path / "shared").rglob("0.01.json")
    content = bytearray(path.read_bytes())
    content[content.index(b": ") + 2] ^= 1
    path.write_bytes(content)
    trainings.clear()
    assert evaluate() == whole
    assert str(path) in caplog.text
    assert [rate for rate, scored in trainings if scored == ("dev",)] == [1e-2]


def test_a_wider_grid_repeats_nothing(evaluate: Any, trainings: Any) -> None:
    evaluate()
    trainings.clear()
    evaluate(learning_rates=(*RATES, 1e-3))
    assert [rate for rate, scored in trainings if scored == ("dev",)] == [1e-3]


def test_a_rate_at_which_the_loss_is_not_finite_loses(evaluate: Any) -> None:
    found = evaluate(learning_rates=(1e-2, 1e30))
    assert found.settings["learning_rate_search"]["scores"][str(1e30)] is None
    assert found.settings["learning_rate"] == 1e-2
    with pytest.raises(UserError, match="not finite at 1e\\+30"):
        evaluate(learning_rates=(1e30,))


def test_a_winner_at_the_edge_is_told(evaluate: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate()
        assert caplog.messages == []
        evaluate(learning_rates=(1e-6, 1e-2))
    assert ["0.01" in message for message in caplog.messages] == [True]


def test_only_the_best_training_is_kept(evaluate: Any, tmp_path: Path) -> None:
    evaluate()
    assert [path.name for path in (tmp_path / "shared").glob("*/*/*") if path.is_dir()] == ["0.01"]
