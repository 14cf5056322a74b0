"""Checkpoints of fairseq, s3prl and WavLM, and weights alone, edited or hostile: read, or refused in a short line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import save_file

from bench.errors import UserError
from bench.upstream import check_reference, load_upstream
from tests.fuzz.damage import HOSTILE, paths, with_value
from tests.fuzz.harness import PROFILES, ends_well, fuzz
from tests.helpers import foreign_models

LAYOUTS = {"s3prl": "hubert", "fairseq": "wav2vec2", "fine-tuned": "hubert", "microsoft": "wavlm"}
WEIGHTS = ("model_weight", "model")


@pytest.fixture(scope="module")
def contents() -> dict[str, dict[str, Any]]:
    torch.manual_seed(0)
    found = {}
    for layout, family in LAYOUTS.items():
        model, settings = foreign_models.make(family)
        found[layout] = foreign_models.content(layout, family, model, settings, normalize=False)
    return found


@pytest.fixture(scope="module")
def alone() -> dict[str, torch.Tensor]:
    """Weights of a published width, in fairseq's names."""
    torch.manual_seed(0)
    sizes = {
        "encoder_layers": 1,
        "encoder_ffn_embed_dim": 16,
        "conv_feature_layers": "[(8,10,5)]+[(8,3,2)]*4+[(8,2,2)]*2",
    }
    model, _ = foreign_models.make("hubert", encoder_embed_dim=768, encoder_attention_heads=12, **sizes)
    return model.state_dict()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("profile", PROFILES)
def test_hostile_settings(profile: str, layout: str, contents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    content = contents[layout]
    settings = {key: value for key, value in content.items() if key not in WEIGHTS}
    weights = {key: value for key, value in content.items() if key in WEIGHTS}
    path = tmp_path / "model.pt"
    torch.save(settings | weights, path)
    assert ends_well(check_reference, path) is None

    def run(change: tuple[tuple[Any, ...], Any]) -> None:
        torch.save(with_value(settings, *change) | weights, path)
        check_reference(path)

    places = [place for place in paths(settings) if place]
    fuzz(run, st.tuples(st.sampled_from(places), st.sampled_from(HOSTILE)), profile, max_examples=30)


@pytest.mark.parametrize("profile", PROFILES)
def test_expressions_of_convolutions(profile: str, contents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    content = contents["microsoft"]
    path = tmp_path / "model.pt"

    def run(expression: str) -> None:
        torch.save(content | {"cfg": content["cfg"] | {"conv_feature_layers": expression}}, path)
        check_reference(path)

    known = [
        "[(512,10,5)]*99",
        "[(999999,999999,999999)]",
        "[(1,1,1)," * 100 + "]",
        "(" * 999,
        "[" * 999,
        "[(9,9,9)]+" * 90,
        "[(1,2,3)]*99+" * 70 + "[(1,2,3)]*99",
        "[(٣,٣,٣)]",
        "exit()",
        "9" * 5000,
    ]
    fuzz(run, st.text(alphabet="[](),+* 0123459x", max_size=60), profile, examples=known)


@pytest.mark.parametrize(
    "shape",
    [(), (0,), (0, 0), (0, 0, 0), (1,), (1, 1), (1, 1, 1), (768,), (768, 0), (0, 768), (2, 2, 2, 2), (768, 768, 1)],
)
def test_weights_of_other_shapes(shape: tuple[int, ...], alone: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(alone, path)
    assert ends_well(check_reference, path) is None
    for key in (*list(alone)[:12], "post_extract_proj.weight", "encoder.pos_conv.0.weight_v"):
        if key not in ("mask_emb", "label_embs_concat") and alone[key].shape != shape:
            torch.save(alone | {key: torch.ones(shape)}, path)
            assert ends_well(check_reference, path) is not None, key


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder.layers.99999999999999999999.self_attn.q_proj.weight": torch.ones(768, 768)},
        {f"encoder.layers.{'9' * 5000}.fc1.weight": torch.ones(16, 768)},
        {f"feature_extractor.conv_layers.{'9' * 5000}.0.weight": torch.ones(8, 8, 2)},
        {f"encoder.layers.{index}.fc1.weight": torch.ones(16, 768) for index in range(1, 2000)},
        {"post_extract_proj.weight": torch.zeros(1).expand(100_000, 100_000)},
        {"post_extract_proj.weight": torch.ones(768, 8).long()},
        {"post_extract_proj.weight": torch.full((768, 8), float("nan"))},
        {"encoder.layers.0.self_attn.relative_attention_bias.weight": torch.ones(320, 0)},
        {"encoder.layers.0.self_attn.relative_attention_bias.weight": torch.ones(1, 12)},
        {"w2v_encoder.w2v_model.layer_norm.weight": torch.ones(8)},
    ],
    ids=[
        "huge-layer",
        "long-layer",
        "long-convolution",
        "many-layers",
        "expanded",
        "int",
        "nan",
        "no-heads",
        "buckets",
        "twice",
    ],
)
def test_hostile_names_and_weights(
    changes: dict[str, torch.Tensor], alone: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(alone | changes, tmp_path / "model.pt")
    assert ends_well(load_upstream, tmp_path / "model.pt") is not None


@pytest.mark.parametrize("key", ["model_weight", "model_cfg", "task_cfg"])
@pytest.mark.parametrize("value", [{}, {1: 2}, {"a": [1]}, {b"a": None}, [], None, 0])
def test_other_contents(key: str, value: Any, contents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    torch.save(contents["s3prl"] | {key: value}, tmp_path / "model.pt")
    if (key, value) not in (
        ("task_cfg", {}),
        ("task_cfg", {1: 2}),
        ("task_cfg", {"a": [1]}),
        ("task_cfg", {b"a": None}),
    ):
        assert ends_well(check_reference, tmp_path / "model.pt") is not None
    else:
        assert ends_well(check_reference, tmp_path / "model.pt") is None


@pytest.mark.parametrize("profile", PROFILES)
def test_cut_and_changed_safetensors(profile: str, alone: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(alone, path)
    whole = path.read_bytes()

    def run(change: tuple[int, bytes, bool]) -> None:
        start, others, is_cut = change
        path.write_bytes(whole[:start] if is_cut else whole[:start] + others + whole[start + len(others) :])
        check_reference(path)

    places = st.integers(0, 5000) | st.integers(0, len(whole) - 1)
    fuzz(run, st.tuples(places, st.binary(min_size=1, max_size=8), st.booleans()), profile)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.safetensors", "weights.pt"])
def test_a_pipe(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    assert "pipe" in (ends_well(load_upstream, tmp_path / name) or "")


def test_code_is_never_executed(contents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "executed",)

    for content in contents.values():
        torch.save(content | {"more": Harmful()}, tmp_path / "model.pt")
        with pytest.raises(UserError, match="weights_only=False"):
            load_upstream(tmp_path / "model.pt")
    assert not (tmp_path / "executed").exists()
