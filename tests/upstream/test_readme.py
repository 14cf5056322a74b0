"""The card of a saved model: facts, front matter of the hub, and no effect on the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from bench.upstream import load_folder, load_upstream, save_upstream, weights_hash
from bench.upstream.readme import README, ShownScore, readme_text, with_scores
from tests.helpers.odd_models import perturbed_model, pruned_shape, small_config

COMPRESSED = {
    "compressor": "dphubert+int8",
    "methods": {"dphubert": "prunes and distils (arXiv 2305.17651)", "int8": "int8 weights (arXiv 1712.05877)"},
    "recipe": {"dphubert": {}, "int8": {}},
    "teacher": "HUBERT_BASE",
    "teacher_params": 100_000,
    "data": {"name": "mini-3-seed0"},
    "audio_hours": 2.5,
}
SCORE = ShownScore("ks", "accuracy", "KS acc.", 0.61234, 0.01, 3, "mini-3-seed0", "mini", "cached")
MODEL = perturbed_model(pruned_shape(small_config("hubert")))


def card(tmp_path: Path, provenance: dict[str, Any]) -> ModelCard:
    save_upstream(MODEL, tmp_path / "student", provenance)
    return ModelCard.load(tmp_path / "student" / README)


def test_facts_of_a_compressed_model(tmp_path: Path) -> None:
    text = card(tmp_path, COMPRESSED).content
    for fact in ("facebook/hubert-base-ls960", "2305.17651", "1712.05877", "2106.07447", "mini-3-seed0", "2.5 hours"):
        assert fact in text, fact
    counted = json.loads((tmp_path / "student" / "config.json").read_text(encoding="utf-8"))["parameters"]["trainable"]
    assert f"{counted:,} ({counted / 100_000:.1%}" in text
    assert 'load_upstream("student")' in text


def test_front_matter_is_the_hub_s(tmp_path: Path) -> None:
    data = card(tmp_path, COMPRESSED).data
    assert data.library_name == "superb-bench"
    assert data.base_model == "facebook/hubert-base-ls960"
    assert {"hubert", "dphubert", "int8", "model-compression"} <= set(data.tags)


def test_a_local_teacher_is_no_base_model_of_the_hub(tmp_path: Path) -> None:
    teacher = tmp_path / "private" / "teacher"
    found = card(tmp_path, COMPRESSED | {"teacher": str(teacher)})
    assert found.data.base_model is None
    assert "teacher" in found.text
    assert "private" not in found.content


def test_scores_name_their_protocol() -> None:
    found = ModelCard(readme_text("m", MODEL.config, 1, {}, scores=[SCORE]))
    (result,) = found.data.eval_results
    assert (result.task_type, result.metric_type, result.metric_value) == ("ks", "accuracy", 61.234)
    assert "| KS acc. | 61.23 ± 1.00 % | 3 | mini-3-seed0 | mini | cached |" in found.text


def test_scores_are_replaced_and_edits_are_kept() -> None:
    edited = readme_text("m", MODEL.config, 1, {}).replace("Not recorded. The licences", "CC-BY. The licences")
    scored = with_scores(edited, [SCORE])
    assert "| KS acc. |" in scored
    assert "CC-BY." in scored
    assert with_scores(scored, []) == edited
    assert with_scores("a card of somebody else", [SCORE]) == "a card of somebody else"


def test_the_embedded_teacher_has_its_licence(tmp_path: Path) -> None:
    assert card(tmp_path, {"teacher": "mini-hubert"}).data.license == "apache-2.0"


def test_the_model_is_the_same_without_its_card(tmp_path: Path) -> None:
    card(tmp_path, COMPRESSED)
    (tmp_path / "student" / README).unlink()
    assert weights_hash(load_folder(tmp_path / "student")) == weights_hash(MODEL)
    assert load_upstream(tmp_path / "student").config == MODEL.config


@pytest.mark.parametrize(
    "provenance",
    [
        {"data": [], "methods": 3, "versions": "x", "seed": {}, "compressor": "a|b\n## Injected"},
        {"teacher": "a/b\n---\nlicense: mit", "data": {"name": 5}, "preset": ["`"]},
        {"compressor": "x" * 10_000, "methods": {"x": None}},
    ],
)
def test_odd_provenance_breaks_nothing(provenance: dict[str, Any], tmp_path: Path) -> None:
    found = card(tmp_path, provenance)
    assert found.data.library_name == "superb-bench"
    assert found.data.license is None
    assert "\n## Injected" not in found.content
