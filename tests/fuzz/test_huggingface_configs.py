"""Hugging Face folders that are edited or hostile: one short line, before anything large is built."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import save_file

from bench.testing import tiny_teacher
from bench.upstream import check_reference, load_upstream
from tests.fuzz.damage import HOSTILE, paths, with_value
from tests.fuzz.harness import PROFILES, ends_well, fuzz

CONFIG = {
    "model_type": "wavlm",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "hidden_act": "gelu",
    "hidden_dropout": 0.1,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
    "conv_dim": [8] * 7,
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 16,
    "num_buckets": 8,
    "max_bucket_distance": 20,
    "layer_norm_eps": 1e-5,
}


def weights() -> dict[str, torch.Tensor]:
    """Name the weights of a tiny model as Hugging Face does."""
    named = {}
    for key, value in tiny_teacher("wavlm-large").state_dict().items():
        name = key.replace("positional_convolution", "pos_conv_embed")
        name = name.replace("position_bias.embedding", "layers.0.attention.rel_attn_embed")
        named[name if name.startswith("feature_") else f"encoder.{name}"] = value
    del named["feature_extractor.channel_scale"]
    return named


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": true}')
    save_file(weights(), tmp_path / "model.safetensors")
    return tmp_path


def test_the_folder_itself_is_read(folder: Path) -> None:
    upstream = load_upstream(folder)
    assert upstream.config.normalize_waveform
    assert upstream.num_layers == 3


@pytest.mark.parametrize("profile", PROFILES)
def test_hostile_values(profile: str, folder: Path) -> None:
    def run(change: tuple[tuple[Any, ...], Any]) -> None:
        (folder / "config.json").write_text(json.dumps(with_value(CONFIG, *change)))
        check_reference(folder)

    fuzz(run, st.tuples(st.sampled_from(paths(CONFIG)), st.sampled_from(HOSTILE)), profile)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 10**7},
        {"num_attention_heads": 10**9, "hidden_size": 10**9},
        {"num_hidden_layers": 100_000},
        {"conv_dim": [1e30] * 7},
        {"conv_dim": [10**30] * 7},
        {"conv_dim": [], "conv_stride": [], "conv_kernel": []},
        {"conv_stride": [1] * 7},
        {"conv_stride": [10**9] * 7},
        {"conv_kernel": [0] * 7},
        {"conv_dim": [8] * 1000, "conv_kernel": [2] * 1000, "conv_stride": [1] * 1000},
        {"hidden_dropout": 5},
        {"hidden_dropout": -0.1},
        {"layer_norm_eps": 0},
        {"num_hidden_layers": True},
        {"conv_bias": "yes"},
        {"num_buckets": 2},
        {"max_bucket_distance": 2},
        {"intermediate_size": -1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_refused_before_anything_is_built(changes: dict[str, Any], folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    message = ends_well(check_reference, folder)
    assert message is not None
    assert "config.json" in message


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", ["[" * 10_000, '{"a":' * 10_000, "", "[]", '{"do_normalize": NaN}', " " * 10**7])
def test_files_that_are_no_json_objects(name: str, content: str, folder: Path) -> None:
    (folder / name).write_text(content)
    message = ends_well(check_reference, folder)
    assert message is not None
    assert name in message


@pytest.mark.parametrize("value", [1, "yes", [True], {}])
def test_do_normalize_is_true_or_false(value: Any, folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": value}))
    assert "do_normalize" in (ends_well(check_reference, folder) or "")


@pytest.mark.parametrize(
    "shard",
    ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "x" * 5000, "a\nb", "missing.safetensors"],
)
def test_shards_are_files_next_to_their_index(shard: str, folder: Path) -> None:
    save_file(weights(), folder.parent / "outside.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    message = ends_well(check_reference, folder)
    assert message is not None
    assert re.search(r"weight_map|missing\.safetensors", message)


def test_ignored_normalisation_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | {"feat_extract_norm": "group"}))
    kept = {
        key: value
        for key, value in weights().items()
        if not re.match(r"feature_extractor\.conv_layers\.[1-6]\.layer_norm", key)
    }
    save_file(kept, folder / "model.safetensors")
    with caplog.at_level(logging.WARNING, logger="bench"):
        assert not load_upstream(folder).config.normalize_waveform
    assert "do_normalize" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value: float, folder: Path) -> None:
    changed = weights()
    changed["encoder.layers.2.feed_forward.output_dense.bias"][0] = value
    save_file(changed, folder / "model.safetensors")
    assert "layers.2.feed_forward.output_dense.bias" in (ends_well(check_reference, folder) or "")
