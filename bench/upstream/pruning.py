"""Structural pruning: builds an ordinary smaller model from a model and the masks of its gates.

Non-zero mask values may be soft. Pruning keeps these units and multiplies the values into the weights that read
them, so pruning heads, feed-forward units and blocks does not change the model's function. Two cases do change it.
Pruning a convolution's channels does, because the following normalisation then covers only the kept channels.
Dropping a block whose units are all masked does too, because its output bias is dropped unless ``keep_output_bias``
is set. DPHuBERT's second distillation stage repairs both.

Source: DPHuBERT (arXiv 2305.17651) section 3.3, and its reference implementation for the weights that take masks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor

from bench.errors import UserError
from bench.upstream.config import ConvLayerShape, TransformerLayerShape, UpstreamConfig
from bench.upstream.cost import kept_units
from bench.upstream.initialisation import uninitialised
from bench.upstream.model import UpstreamModel

logger = logging.getLogger(__name__)

_State = dict[str, Tensor]

_ATTENTION_BIAS = "layers.{}.attention.out_proj.bias"
_FEED_FORWARD_BIAS = "layers.{}.feed_forward.output_dense.bias"


def pruned_config(
    config: UpstreamConfig, masks: Mapping[str, Tensor], *, keep_position_bias: bool = True
) -> UpstreamConfig:
    """Return the shape that pruning by ``masks`` gives, without touching any weight.

    Args:
        config: shape of the model to prune, which may be pruned already.
        masks: keyed ``<unit>/<layer index>`` as in `gates.Gates`. Non-zero (or True) entries are kept. Units without
            a mask are kept whole.
        keep_position_bias: see `prune`.

    Raises:
        UserError: a convolution would keep no channel.
        ValueError: a mask has another size or no counterpart in ``config``, or linear layers are reduced.
    """
    _check_masks(config, masks)
    kept = {key: mask.nonzero().flatten().tolist() for key, mask in masks.items()}
    conv_layers = tuple(
        _pruned_conv(shape, index, kept.get(f"conv/{index}")) for index, shape in enumerate(config.conv_layers)
    )
    layers = tuple(_pruned_layer(shape, index, kept) for index, shape in enumerate(config.layers))
    changes: dict[str, object] = {"conv_layers": conv_layers, "layers": layers}
    owners = layers if keep_position_bias else layers[:1]
    if config.relative_position is not None and not any(layer.heads for layer in owners):
        changes["relative_position"] = config.relative_position.model_copy(update={"has_embedding": False})
    return config.model_copy(update=changes)


def prune(
    model: UpstreamModel,
    masks: Mapping[str, Tensor],
    *,
    keep_position_bias: bool = True,
    keep_output_bias: bool = False,
) -> UpstreamModel:
    """Return a new, smaller model whose weights include ``masks``. ``model`` is not changed.

    Args:
        model: any upstream, which may be pruned already. Gates attached to it are ignored.
        masks: as in `pruned_config`. Soft values are multiplied into the weights.
        keep_position_bias: whether WavLM's relative position bias stays while any layer has attention. Otherwise it
            is removed with layer 0's attention, as in DPHuBERT's reference implementation, where it belongs to that
            layer.
        keep_output_bias: whether the output bias of a removed block is added to the previous bias of the residual
            stream. All hidden states then equal those of the masked model, except for the constant in a block's input
            if another layer feeds it. If all first blocks of a pre-norm model are removed, this bias is lost. False
            removes the bias too, as in DPHuBERT's reference implementation.

    Raises:
        UserError: a convolution would keep no channel.
        ValueError: a mask has another size or no counterpart in ``model``.
    """
    config = pruned_config(model.config, masks, keep_position_bias=keep_position_bias)
    if _has_bias(model.config) and not _has_bias(config) and any(layer.heads for layer in config.layers):
        logger.warning("layer 0's attention is pruned: no layer has WavLM's relative position bias any more")
    state = {key: value.detach() for key, value in model.state_dict().items()}
    for index in range(len(config.conv_layers)):
        if f"conv/{index}" in masks:
            _prune_conv(state, index, masks[f"conv/{index}"], is_last=index + 1 == len(config.conv_layers))
    for index, shape in enumerate(config.layers):
        if keep_output_bias:
            _keep_output_bias(state, config, index, "attlayer", masks)
        _prune_attention(state, index, masks, config.head_dim, is_kept=bool(shape.heads))
        if keep_output_bias:
            _keep_output_bias(state, config, index, "ffnlayer", masks)
        _prune_feed_forward(state, index, masks, is_kept=bool(shape.feed_forward))
    if not _has_bias(config):
        state.pop("position_bias.embedding.weight", None)
    pruned = uninitialised(config).to(state["layer_norm.weight"])
    pruned.load_state_dict(state)
    return pruned.train(model.training)


def _check_masks(config: UpstreamConfig, masks: Mapping[str, Tensor]) -> None:
    if config.reduced_linears:
        raise ValueError(f"{config.reduced_linears[0][0]} is low-rank or int8; only dense layers can be pruned")
    sizes = {
        f"{unit}/{index}": count for unit, counts in kept_units(config).items() for index, count in enumerate(counts)
    }
    for key, mask in masks.items():
        if mask.shape != (sizes.get(key, 0),):
            raise ValueError(f"mask {key} has shape {tuple(mask.shape)}; the model has {sizes.get(key, 0)} such units")


def _has_bias(config: UpstreamConfig) -> bool:
    return config.relative_position is not None and config.relative_position.has_embedding


def _pruned_conv(shape: ConvLayerShape, index: int, kept: list[int] | None) -> ConvLayerShape:
    if kept is None:
        return shape
    if not kept:
        raise UserError(
            f"pruning leaves no channel in convolution {index} of the feature extractor;"
            " lower the sparsity or leave 'conv' out of the pruning units"
        )
    return shape.model_copy(update={"channels": len(kept)})


def _pruned_layer(shape: TransformerLayerShape, index: int, kept: Mapping[str, list[int]]) -> TransformerLayerShape:
    heads = shape.heads
    if f"head/{index}" in kept:
        heads = tuple(heads[position] for position in kept[f"head/{index}"])
    feed_forward = shape.feed_forward
    if f"interm/{index}" in kept:
        feed_forward = len(kept[f"interm/{index}"])
    return TransformerLayerShape(
        heads=heads if kept.get(f"attlayer/{index}", True) else (),
        feed_forward=feed_forward if kept.get(f"ffnlayer/{index}", True) else 0,
    )


def _prune_conv(state: _State, index: int, mask: Tensor, *, is_last: bool) -> None:
    kept = mask.nonzero().flatten()
    layer = f"feature_extractor.conv_layers.{index}."
    for name in ("conv.weight", "conv.bias", "layer_norm.weight", "layer_norm.bias"):
        _select(state, layer + name, kept)
    if not is_last:
        reader = f"feature_extractor.conv_layers.{index + 1}.conv.weight"
        _select(state, reader, kept, dim=1)
        state[reader] = state[reader] * mask[kept][:, None]
        return
    # A LayerNorm reads the last convolution, so there is no weight to multiply its mask into.
    _select(state, "feature_extractor.channel_scale", kept)
    state["feature_extractor.channel_scale"] = state["feature_extractor.channel_scale"] * mask[kept]
    _select(state, "feature_projection.layer_norm.weight", kept)
    _select(state, "feature_projection.layer_norm.bias", kept)
    _select(state, "feature_projection.projection.weight", kept, dim=1)


def _keep_output_bias(
    state: _State, config: UpstreamConfig, index: int, block: str, masks: Mapping[str, Tensor]
) -> None:
    """Add the output bias of a removed block to the previous bias."""
    shape = config.layers[index]
    is_kept, key = (shape.heads, _ATTENTION_BIAS) if block == "attlayer" else (shape.feed_forward, _FEED_FORWARD_BIAS)
    lost, before = state.get(key.format(index)), _bias_before(config, index, block)
    if not is_kept and lost is not None and before is not None:
        state[before] = state[before] + lost * masks.get(f"{block}/{index}", 1.0)


def _bias_before(config: UpstreamConfig, index: int, block: str) -> str | None:
    """Name the last bias added to the residual stream before a block. None if there is none."""
    if not config.layer_norm_first:
        if block == "ffnlayer":
            return f"layers.{index}.layer_norm.bias"
        return f"layers.{index - 1}.final_layer_norm.bias" if index else "layer_norm.bias"
    if block == "ffnlayer" and config.layers[index].heads:
        return _ATTENTION_BIAS.format(index)
    for layer in range(index - 1, -1, -1):
        if config.layers[layer].feed_forward:
            return _FEED_FORWARD_BIAS.format(layer)
        if config.layers[layer].heads:
            return _ATTENTION_BIAS.format(layer)
    return None


def _prune_attention(state: _State, index: int, masks: Mapping[str, Tensor], head_dim: int, *, is_kept: bool) -> None:
    block = f"layers.{index}.attention."
    if not is_kept:
        _drop(state, block)
        return
    _scale_linear(state, block + "out_proj", masks.get(f"attlayer/{index}"))
    if f"head/{index}" in masks:
        mask = masks[f"head/{index}"].repeat_interleave(head_dim)
        for name in ("k_proj", "v_proj", "q_proj"):
            _select(state, f"{block}{name}.weight", mask.nonzero().flatten())
            _select(state, f"{block}{name}.bias", mask.nonzero().flatten())
        _fold_into_columns(state, block + "out_proj.weight", mask)


def _prune_feed_forward(state: _State, index: int, masks: Mapping[str, Tensor], *, is_kept: bool) -> None:
    block = f"layers.{index}.feed_forward."
    if not is_kept:
        _drop(state, block)
        return
    _scale_linear(state, block + "output_dense", masks.get(f"ffnlayer/{index}"))
    if f"interm/{index}" in masks:
        mask = masks[f"interm/{index}"]
        _select(state, block + "intermediate_dense.weight", mask.nonzero().flatten())
        _select(state, block + "intermediate_dense.bias", mask.nonzero().flatten())
        _fold_into_columns(state, block + "output_dense.weight", mask)


def _select(state: _State, key: str, kept: Tensor, dim: int = 0) -> None:
    """Keep some rows or columns of a weight, if the model type has that weight."""
    if key in state:
        state[key] = state[key].index_select(dim, kept)


def _fold_into_columns(state: _State, key: str, mask: Tensor) -> None:
    kept = mask.nonzero().flatten()
    _select(state, key, kept, dim=1)
    state[key] = state[key] * mask[kept]


def _scale_linear(state: _State, linear: str, mask: Tensor | None) -> None:
    if mask is not None:
        state[f"{linear}.weight"] = state[f"{linear}.weight"] * mask
        state[f"{linear}.bias"] = state[f"{linear}.bias"] * mask


def _drop(state: _State, prefix: str) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        del state[key]
