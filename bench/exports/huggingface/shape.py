"""An upstream's shape as the ``config.json`` of a Hugging Face model."""

from __future__ import annotations

from typing import Any

from bench.upstream import UpstreamConfig, UpstreamModel

_STOCK_CLASSES = {"hubert": "HubertModel", "wav2vec2": "Wav2Vec2Model", "wavlm": "WavLMModel"}
_CODE = "modeling_superb_bench."
_CLASSES = {
    "AutoConfig": "CompressedSpeechConfig",
    "AutoModel": "CompressedSpeechModel",
    "AutoModelForCTC": "CompressedSpeechForCTC",
    "AutoModelForAudioClassification": "CompressedSpeechForSequenceClassification",
    "AutoModelForSequenceClassification": "CompressedSpeechForSequenceClassification",
    "AutoModelForAudioFrameClassification": "CompressedSpeechForAudioFrameClassification",
}


def is_stock(model: UpstreamModel) -> bool:
    """Return whether transformers' own class of the architecture can hold this model."""
    config = model.config
    all_heads = tuple(range(config.total_heads))
    return (
        not config.reduced_linears
        and len({layer.feed_forward for layer in config.layers}) == 1
        and config.layers[0].feed_forward > 0
        and all(layer.heads == all_heads for layer in config.layers)
        and config.total_heads * config.head_dim == config.dim
        # Only HuBERT's class can leave this LayerNorm out.
        and (config.projection_layer_norm or config.architecture == "hubert")
        and (config.relative_position is None or config.relative_position.has_embedding)
        and bool((model.feature_extractor.channel_scale == 1).all())
    )


def stock_config(config: UpstreamConfig) -> dict[str, Any]:
    """Describe a model of `is_stock` for transformers' own class."""
    return {
        "architectures": [_STOCK_CLASSES[config.architecture]],
        "model_type": config.architecture,
        "intermediate_size": config.layers[0].feed_forward,
        **_shared(config),
    }


def compressed_config(config: UpstreamConfig) -> dict[str, Any]:
    """Describe any float32 model for the classes of ``modeling_superb_bench.py``."""
    relative = config.relative_position
    sizes = [layer.feed_forward for layer in config.layers]
    return {
        "architectures": [_CLASSES["AutoModel"]],
        "auto_map": {auto: _CODE + name for auto, name in _CLASSES.items()},
        # Not the stock type: without trust_remote_code, transformers would load the stock class with random weights.
        "model_type": "superb-bench",
        "family": config.architecture,
        "intermediate_size": max(sizes, default=0),
        "feed_forward_sizes": sizes,
        "kept_heads": [list(layer.heads) for layer in config.layers],
        "head_dim": config.head_dim,
        "ranks": {_module_path(path): reduced.rank for path, reduced in config.reduced_linears},
        "has_position_bias": relative is not None and relative.has_embedding,
        **_shared(config),
    }


def _shared(config: UpstreamConfig) -> dict[str, Any]:
    relative = config.relative_position
    wavlm = {"num_buckets": relative.num_buckets, "max_bucket_distance": relative.max_distance} if relative else {}
    return {
        "hidden_size": config.dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.total_heads,
        "hidden_act": "gelu",
        "hidden_dropout": config.dropout.hidden,
        "activation_dropout": config.dropout.feed_forward,
        "attention_dropout": config.dropout.attention,
        "feat_proj_dropout": config.dropout.projection,
        "layerdrop": config.dropout.layer,
        "feat_proj_layer_norm": config.projection_layer_norm,
        "layer_norm_eps": config.layer_norm_eps,
        "feat_extract_norm": "group" if config.extractor_norm == "group_norm" else "layer",
        "feat_extract_activation": "gelu",
        "conv_dim": [layer.channels for layer in config.conv_layers],
        "conv_stride": [layer.stride for layer in config.conv_layers],
        "conv_kernel": [layer.kernel for layer in config.conv_layers],
        "conv_bias": config.conv_bias,
        "num_conv_pos_embeddings": config.positional_kernel,
        "num_conv_pos_embedding_groups": config.positional_groups,
        "do_stable_layer_norm": config.layer_norm_first,
        # The embedding that masks frames belongs to pretraining, and is not part of an upstream.
        "mask_time_prob": 0.0,
        "torch_dtype": "float32",
        **wavlm,
    }


def _module_path(path: str) -> str:
    return path if path.startswith("feature_projection.") else f"encoder.{path}"
