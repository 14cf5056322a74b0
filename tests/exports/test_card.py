"""The card of an exported folder: how to load it, and the scores of its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard

from bench.exports import export_model
from bench.store.records import RecordStore
from bench.upstream import UpstreamModel, save_upstream, weights_hash
from tests.helpers.odd_models import perturbed_model, pruned_shape, small_config
from tests.helpers.records import record
from tests.helpers.run_folders import run_writer

MODEL = perturbed_model(pruned_shape(small_config("hubert")))


@pytest.fixture
def scored(tmp_path: Path) -> Callable[[UpstreamModel], Path]:
    """Store a model in a finished run, with the scores of two seeds and those of other weights."""

    def store(model: UpstreamModel) -> Path:
        run = run_writer(tmp_path)("run", {})
        folder = run / "models" / "small"
        save_upstream(model, folder, {"compressor": "dphubert", "teacher": "mini-hubert"})
        other = "0" * 64
        for seed, accuracy, identity in ((0, 0.5, weights_hash(model)), (1, 0.7, weights_hash(model)), (2, 0.1, other)):
            scored = record("small", "ks", seed, "mini-hubert", accuracy=accuracy)
            RecordStore(run).write(scored.model_copy(update={"provenance": {"weights_hash": identity}}), [])
        return folder

    return store


def test_scores_are_those_of_these_weights(scored: Any, tmp_path: Path) -> None:
    card = ModelCard.load(export_model(str(scored(MODEL)), "hf", tmp_path / "out") / "README.md")
    (result,) = card.data.eval_results
    assert (result.task_type, result.metric_value, result.dataset_type) == ("ks", 60.0, "mini-1")
    assert "| KS acc. | 60.00 ± 14.14 % | 2 | mini-1 | mini | cached |" in card.text


def test_hub_s_fields(scored: Any, tmp_path: Path) -> None:
    card = ModelCard.load(export_model(str(scored(MODEL)), "s3prl", tmp_path / "out") / "README.md")
    assert card.data.library_name == "s3prl"
    assert card.data.license == "apache-2.0"
    assert "dphubert" in card.data.tags


@pytest.mark.parametrize("scale", [1.0, 1.1], ids=["stock", "with-code"])
def test_its_code_loads_the_model(scale: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = perturbed_model(small_config("hubert"), scale=scale)
    save_upstream(model, tmp_path / "suite", {})
    folder = export_model(str(tmp_path / "suite"), "hf", tmp_path / "student")
    code = (folder / "README.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    waveform = torch.randn(6000)
    values: dict[str, Any] = {"waveform": waveform.numpy()}
    exec(code, values)
    expected, _ = model(waveform[None])
    assert all(torch.equal(a, b) for a, b in zip(values["states"], expected, strict=True))
