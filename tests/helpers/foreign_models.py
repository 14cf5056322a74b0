"""Small models of s3prl, with random weights, in the file formats of fairseq, s3prl and Microsoft."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

SIZES: dict[str, Any] = {
    "encoder_layers": 3,
    "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 80,
    "encoder_attention_heads": 4,
    "conv_feature_layers": "[(20,10,5)] + [(24, 3, 2)] * 2 + [(28,3,2), (20,3,2)] + [(32,2,2)] * 2",
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "dropout_input": 0.11,
    "attention_dropout": 0.12,
    "activation_dropout": 0.13,
    "dropout": 0.14,
}
"""Settings in fairseq's names."""
LARGE = {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True}
RELATIVE = {"relative_position_embedding": True, "gru_rel_pos": True, "num_buckets": 32, "max_distance": 12}


def make(family: str, **changes: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Build a model of s3prl's own code.

    Args:
        family: ``hubert``, ``wav2vec2`` or ``wavlm``.
        changes: of `SIZES`.

    Returns:
        The model in evaluation mode, and its settings.
    """
    settings = SIZES | changes
    model: nn.Module
    if family == "wavlm":
        from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

        settings = RELATIVE | settings
        model = WavLM(WavLMConfig(settings))
    elif family == "hubert":
        from s3prl.upstream.hubert.hubert_model import HubertConfig, HubertModel, HubertPretrainingConfig

        model = HubertModel(HubertConfig(label_rate=50, **settings), HubertPretrainingConfig(), [["a", "b"]])
    else:
        from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model

        settings = {"quantize_targets": True, "latent_vars": 4, "latent_dim": 8} | settings
        model = Wav2Vec2Model(Wav2Vec2Config(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval(), settings


def content(layout: str, family: str, model: nn.Module, settings: dict[str, Any], *, normalize: bool) -> dict[str, Any]:
    """Write down a model as a project does.

    Args:
        layout: ``s3prl``, ``fairseq``, ``fine-tuned`` (fairseq's for speech recognition) or ``microsoft``.
        family: see `make`.
        model: the model.
        settings: of `make`.
        normalize: whether it expects normalised waveforms.
    """
    weights = model.state_dict()
    task = {"_name": "audio_pretraining", "normalize": normalize, "sample_rate": 16_000}
    if layout == "s3prl":
        symbols = {"dictionaries_symbols": [["a", "b"]]} if family == "hubert" else {}
        named = settings | ({"label_rate": 50} if family == "hubert" else {})
        return {"task_cfg": task, "model_cfg": named, "model_weight": weights} | symbols
    if layout == "fairseq":
        return {"args": None, "cfg": {"model": settings, "task": task}, "model": weights, "extra_state": {"epoch": 3}}
    if layout == "fine-tuned":
        renamed = {f"w2v_encoder.w2v_model.{key}": value for key, value in weights.items()}
        renamed |= {"w2v_encoder.proj.weight": torch.ones(5, 48), "w2v_encoder.proj.bias": torch.ones(5)}
        outer = {"_name": "wav2vec_ctc", "w2v_args": {"model": settings, "task": task}, "dropout": 0.0}
        return {"cfg": {"model": outer, "task": {"normalize": False}}, "model": renamed}
    return {"cfg": settings | {"normalize": normalize}, "model": weights}


def expected_states(family: str, path: Path, waveforms: list[torch.Tensor]) -> list[torch.Tensor]:
    """Compute hidden states by s3prl's own upstream, from the same file."""
    expert = import_module(f"s3prl.upstream.{family}.expert").UpstreamExpert(str(path)).eval()
    return list(expert(waveforms)["hidden_states"])
