"""How the ground-truth files name what our models and gates have."""

import re

import torch

from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import ConvLayerShape, RelativePosition, TransformerLayerShape, uniform_config

BASE_CONFIGS = {
    "hubert_base": uniform_config("hubert", 768, 12, 12, 3072),
    "wavlm_base_plus": uniform_config("wavlm", 768, 12, 12, 3072),
}

_GATES = {
    r"feature_extractor\.conv_layers\.(\d+)\.hard_concrete": r"conv/\1",
    r"encoder\.transformer\.layers\.(\d+)\.attention\.hard_concrete_for_heads": r"head/\1",
    r"encoder\.transformer\.layers\.(\d+)\.attention\.hard_concrete_for_layer": r"attlayer/\1",
    r"encoder\.transformer\.layers\.(\d+)\.feed_forward\.hard_concrete_for_intermediate": r"interm/\1",
    r"encoder\.transformer\.layers\.(\d+)\.feed_forward\.hard_concrete_for_layer": r"ffnlayer/\1",
}

_POSITIONAL_WEIGHT = "positional_convolution.conv.parametrizations.weight"
_WEIGHTS = {
    r"encoder\.transformer\.layers\.0\.attention\.rel_attn_embed": "position_bias.embedding",
    r"encoder\.transformer\.pos_conv_embed\.conv\.weight_g": f"{_POSITIONAL_WEIGHT}.original0",
    r"encoder\.transformer\.pos_conv_embed\.conv\.weight_v": f"{_POSITIONAL_WEIGHT}.original1",
    r"encoder\.transformer\.pos_conv_embed": "positional_convolution",
    r"encoder\.transformer\.|encoder\.(?=feature_projection)": "",
    r"feature_extractor\.dummy_weight": "feature_extractor.channel_scale",
}


def gate_key(module_path: str) -> str:
    """Return our key of the gate at the reference implementation's ``module_path``."""
    for pattern, key in _GATES.items():
        if re.fullmatch(pattern, module_path):
            return re.sub(pattern, key, module_path)
    raise KeyError(module_path)


def weight_key(key: str) -> str:
    """Return our ``state_dict`` key of a weight of the reference implementation."""
    for pattern, replacement in _WEIGHTS.items():
        key, count = re.subn(f"^(?:{pattern})", replacement, key)
        if count:
            return key
    return key


def small_config(config: dict) -> UpstreamConfig:
    """Translate the ``config`` of a small reference checkpoint."""
    num_layers = config["encoder_num_layers"]
    heads = config.get("encoder_remaining_heads") or [range(count) for count in config["encoder_num_heads"]]
    is_wavlm = "encoder_remaining_heads" in config
    return UpstreamConfig(
        architecture="wavlm" if is_wavlm else "hubert",
        extractor_norm=config["extractor_mode"],
        conv_layers=tuple(
            ConvLayerShape(channels=channels, kernel=kernel, stride=stride)
            for channels, kernel, stride in config["extractor_conv_layer_config"]
        ),
        dim=config["encoder_embed_dim"],
        positional_kernel=config["encoder_pos_conv_kernel"],
        positional_groups=config["encoder_pos_conv_groups"],
        total_heads=6,
        head_dim=16,
        layers=tuple(
            TransformerLayerShape(
                heads=tuple(heads[index]) if config["encoder_use_attention"][index] else (),
                feed_forward=config["encoder_ff_interm_features"][index] * config["encoder_use_feed_forward"][index],
            )
            for index in range(num_layers)
        ),
        relative_position=RelativePosition(num_buckets=32, max_distance=40) if is_wavlm else None,
    )


def small_gated(path) -> tuple[UpstreamModel, dict[str, torch.Tensor]]:
    """Load a small ``_gated.ckpt``: the model in evaluation mode and the state of its gates."""
    checkpoint = torch.load(path, weights_only=True)
    prefix = "student_model."
    state = {key[len(prefix) :]: value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)}
    gates = {
        f"{gate_key(key[: -len('.log_alpha')])}.log_alpha": state.pop(key) for key in list(state) if "log_alpha" in key
    }
    model = UpstreamModel(small_config(checkpoint["config"]))
    model.load_state_dict({weight_key(key): value for key, value in state.items()})
    return model.eval(), gates


def small_pruned(path) -> UpstreamModel:
    """Load a small pruned ``.pth``, in evaluation mode."""
    checkpoint = torch.load(path, weights_only=True)
    model = UpstreamModel(small_config(checkpoint["config"]))
    model.load_state_dict({weight_key(key): value for key, value in checkpoint["state_dict"].items()})
    return model.eval()
