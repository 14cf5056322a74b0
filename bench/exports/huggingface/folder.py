"""Hugging Face folders: a plain model of transformers where every layer has the stock shape, else with its own code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from bench.exports.card import write_card
from bench.exports.huggingface.shape import compressed_config, is_stock, stock_config
from bench.exports.names import renamed
from bench.exports.options import ExportOptions
from bench.exports.subject import Subject
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.conversion.keys import CHANNEL_SCALE
from bench.upstream.readme import Usage

CODE = Path(__file__).with_name("modeling_superb_bench.py")
"""The modelling file that is copied into the folder."""

_CODE = """from transformers import AutoFeatureExtractor, AutoModel

extractor = AutoFeatureExtractor.from_pretrained("{{model}}")
model = AutoModel.from_pretrained("{{model}}"{arguments})
inputs = extractor(waveform, sampling_rate=16000, return_tensors="pt")  # (samples,) at 16 kHz
states = model(**inputs, output_hidden_states=True).hidden_states"""
STOCK_USAGE = Usage("transformers", _CODE.format(arguments=""))
USAGE = Usage("transformers", _CODE.format(arguments=", trust_remote_code=True"))

_STOCK_BIAS = "encoder.layers.0.attention.rel_attn_embed.weight"
_COMPRESSED_BIAS = "encoder.rel_attn_embed.weight"


def write(subject: Subject, destination: Path, options: ExportOptions) -> None:  # noqa: ARG001 - the signature of a target
    """Write the model's configuration, weights, feature extractor and card, and its modelling code if it needs any."""
    if is_stock(subject.model):
        write_stock(subject.model, destination)
        write_card(subject, destination, STOCK_USAGE)
    else:
        write_with_code(subject.model, destination)
        write_card(subject, destination, USAGE)


def write_stock(model: UpstreamModel, destination: Path) -> None:
    """Write a folder for transformers' own class. The model must be one of `is_stock`."""
    weights = _weights(model)
    del weights[CHANNEL_SCALE]
    _write(weights, stock_config(model.config), model.config, destination)


def write_with_code(model: UpstreamModel, destination: Path) -> None:
    """Write a folder with its own modelling code. It holds any float32 model."""
    weights = _weights(model)
    if _STOCK_BIAS in weights:
        weights[_COMPRESSED_BIAS] = weights.pop(_STOCK_BIAS)
    shutil.copyfile(CODE, destination / CODE.name)
    _write(weights, compressed_config(model.config), model.config, destination)


def _weights(model: UpstreamModel) -> dict[str, Tensor]:
    return renamed(model.state_dict(), transformer="encoder.")


def _write(weights: dict[str, Tensor], content: dict[str, Any], config: UpstreamConfig, destination: Path) -> None:
    save_file(weights, destination / "model.safetensors", metadata={"format": "pt"})
    _write_json(content, destination / "config.json")
    _write_json(_feature_extractor(config), destination / "preprocessor_config.json")


def _feature_extractor(config: UpstreamConfig) -> dict[str, Any]:
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": 16_000,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": config.normalize_waveform,
        "return_attention_mask": True,
    }


def _write_json(content: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
