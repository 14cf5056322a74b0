"""HuBERT, wav2vec 2.0 and WavLM with layers of different sizes, as superb-bench's compressors leave them.

This file is part of the exported model: transformers loads it with ``trust_remote_code=True``. It needs transformers
and torch only. Letters in shape comments: B utterances, T frames, C channels of a convolution, D ``hidden_size``.

Source: wav2vec 2.0 (arXiv 2006.11477) section 2; HuBERT (arXiv 2106.07447) section II; WavLM (arXiv 2110.13900)
section III-A. SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from transformers import PreTrainedModel, Wav2Vec2Config
from transformers.modeling_outputs import (
    BaseModelOutput,
    CausalLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)


class CompressedSpeechConfig(Wav2Vec2Config):
    """Configuration of wav2vec 2.0 with sizes that differ between layers. All fields not listed keep their meaning."""

    model_type = "superb-bench"

    family: str = "hubert"
    """``hubert``, ``wav2vec2`` or ``wavlm``."""
    kept_heads: list[list[int]] | None = None
    """For each layer, the indices of its attention heads among ``num_attention_heads``. Empty: no attention block."""
    feed_forward_sizes: list[int] | None = None
    """For each layer, the width of its feed-forward block. 0: no feed-forward block."""
    head_dim: int | None = None
    """Width of one head. None: ``hidden_size // num_attention_heads``."""
    ranks: dict[str, int] | None = None
    """Rank of each low-rank linear layer, by module path."""
    feat_proj_layer_norm: bool = True
    """Whether a LayerNorm precedes the feature projection."""
    has_position_bias: bool = False
    """Whether attention has WavLM's relative position bias."""
    num_buckets: int = 320
    """Number of buckets of relative distances."""
    max_bucket_distance: int = 800
    """Distance in frames from which all distances share a bucket."""


class CompressedSpeechPreTrainedModel(PreTrainedModel):
    """What the bare model and the models with a head share."""

    config_class = CompressedSpeechConfig
    base_model_prefix = "upstream"
    main_input_name = "input_values"
    _supports_sdpa = True

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise a module whose weights are not in the checkpoint, such as a new head."""
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            nn.init.ones_(module.weight)
        elif isinstance(module, CompressedSpeechModel) and hasattr(module, "masked_spec_embed"):
            nn.init.uniform_(module.masked_spec_embed)
        elif isinstance(layer_weights := getattr(module, "layer_weights", None), nn.Parameter):
            nn.init.constant_(layer_weights, 1 / (self.config.num_hidden_layers + 1))
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.LayerNorm, nn.GroupNorm)) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def _get_feat_extract_output_lengths(self, input_lengths: Tensor) -> Tensor:
        """Map lengths in samples to lengths in frames."""
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            input_lengths = (torch.div(input_lengths - kernel, stride, rounding_mode="floor") + 1).clamp(min=0)
        return input_lengths

    def frame_mask(self, attention_mask: Tensor | None, num_frames: int) -> Tensor | None:
        """Mark valid frames, (B, T) bool. None if all frames are valid, because kernels are then faster."""
        if attention_mask is None:
            return None
        lengths = self._get_feat_extract_output_lengths(attention_mask.sum(-1))
        mask = torch.arange(num_frames, device=lengths.device) < lengths[:, None]
        # A captured graph must not depend on the lengths of the example.
        is_captured = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        return None if not is_captured and bool(mask.all()) else mask

    def freeze_feature_encoder(self) -> None:
        """Exclude the convolutions from training, as is usual in fine-tuning."""
        self.base_model.feature_extractor.requires_grad_(False)

    def freeze_base_model(self) -> None:
        """Train the head only."""
        self.base_model.requires_grad_(False)


class FeatureExtractor(nn.Module):
    """Strided convolutions from the waveform to 50 frames a second."""

    channel_scale: Tensor

    def __init__(self, config: CompressedSpeechConfig) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(ConvLayer(config, index) for index in range(len(config.conv_dim)))
        self.register_buffer("channel_scale", torch.ones(config.conv_dim[-1]))

    def forward(self, waveforms: Tensor) -> Tensor:
        """Map (B, samples) to (B, T, C)."""
        hidden = waveforms.unsqueeze(1)  # (B, 1, samples)
        for layer in self.conv_layers:
            hidden = layer(hidden)  # (B, C, T)
        return hidden.transpose(1, 2) * self.channel_scale  # (B, T, C)


class ConvLayer(nn.Module):
    """Convolution, normalisation if the model type has one, and GELU."""

    def __init__(self, config: CompressedSpeechConfig, index: int) -> None:
        super().__init__()
        inputs = config.conv_dim[index - 1] if index else 1
        channels = config.conv_dim[index]
        self.conv = nn.Conv1d(
            inputs, channels, config.conv_kernel[index], config.conv_stride[index], bias=config.conv_bias
        )
        self.layer_norm: nn.Module | None = None
        if config.feat_extract_norm == "layer":
            self.layer_norm = nn.LayerNorm(channels)
        elif index == 0:
            self.layer_norm = nn.GroupNorm(channels, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, inputs, T) to (B, C, fewer frames)."""
        hidden = self.conv(hidden)
        if isinstance(self.layer_norm, nn.LayerNorm):
            hidden = self.layer_norm(hidden.transpose(1, 2)).transpose(1, 2)
        elif self.layer_norm is not None:
            hidden = self.layer_norm(hidden)
        return F.gelu(hidden)


class FeatureProjection(nn.Module):
    """LayerNorm and a linear layer from the extractor's channels to the transformer's width."""

    def __init__(self, config: CompressedSpeechConfig) -> None:
        super().__init__()
        channels = config.conv_dim[-1]
        has_norm = config.feat_proj_layer_norm
        self.layer_norm = nn.LayerNorm(channels, config.layer_norm_eps) if has_norm else nn.Identity()
        self.projection = nn.Linear(channels, config.hidden_size)
        self.dropout = nn.Dropout(config.feat_proj_dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, D)."""
        return self.dropout(self.projection(self.layer_norm(features)))


class PositionalConvolution(nn.Module):
    """A wide grouped convolution in place of position embeddings, weight-normalised over the kernel."""

    def __init__(self, config: CompressedSpeechConfig) -> None:
        super().__init__()
        kernel = config.num_conv_pos_embeddings
        groups = config.num_conv_pos_embedding_groups
        convolution = nn.Conv1d(config.hidden_size, config.hidden_size, kernel, padding=kernel // 2, groups=groups)
        self.conv = parametrizations.weight_norm(convolution, name="weight", dim=2)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to the same shape."""
        # An even kernel gives one frame too many.
        convolved = self.conv(hidden.transpose(1, 2))[:, :, : hidden.shape[1]]
        return F.gelu(convolved).transpose(1, 2)


class SelfAttention(nn.Module):
    """Self-attention over the heads that a layer keeps."""

    def __init__(self, config: CompressedSpeechConfig, heads: list[int]) -> None:
        super().__init__()
        self.num_heads = len(heads)
        self.dropout = config.attention_dropout
        width = self.num_heads * (config.head_dim or config.hidden_size // config.num_attention_heads)
        self.k_proj = nn.Linear(config.hidden_size, width)
        self.v_proj = nn.Linear(config.hidden_size, width)
        self.q_proj = nn.Linear(config.hidden_size, width)
        self.out_proj = nn.Linear(width, config.hidden_size)

    def forward(self, hidden: Tensor, key_mask: Tensor | None, position_bias: Tensor | None) -> Tensor:
        """Map (B, T, D) to the same shape.

        Args:
            hidden: (B, T, D).
            key_mask: (B, 1, 1, T) bool, True where a frame is valid. None if all are.
            position_bias: (num_attention_heads, T, T), or None.
        """
        attended = F.scaled_dot_product_attention(
            self._split(self.q_proj(hidden)),
            self._split(self.k_proj(hidden)),
            self._split(self.v_proj(hidden)),
            attn_mask=self.scores_bias(hidden, key_mask, position_bias),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def scores_bias(self, hidden: Tensor, key_mask: Tensor | None, position_bias: Tensor | None) -> Tensor | None:  # noqa: ARG002 - WavLM's needs all
        """Return the mask of the attention scores, or the bias to add to them."""
        return key_mask

    def _split(self, projected: Tensor) -> Tensor:
        batch, frames, width = projected.shape
        return projected.view(batch, frames, self.num_heads, width // self.num_heads).transpose(1, 2)


class GatedSelfAttention(SelfAttention):
    """WavLM's self-attention: each query scales the relative position bias by its own gate.

    Gates are computed for all heads of the uncompressed model from the layer's whole input.
    """

    def __init__(self, config: CompressedSpeechConfig, heads: list[int]) -> None:
        super().__init__(config, heads)
        self.total_heads = config.num_attention_heads
        self.gru_rel_pos_linear = nn.Linear(config.hidden_size // self.total_heads, 8)
        self.gru_rel_pos_const = nn.Parameter(torch.ones(1, self.total_heads, 1, 1))
        self.kept_heads = None if heads == [*range(self.total_heads)] else heads

    def scores_bias(self, hidden: Tensor, key_mask: Tensor | None, position_bias: Tensor | None) -> Tensor | None:
        """Combine the padding mask and the gated position bias."""
        if position_bias is None:
            return key_mask
        gate = self._gate(hidden)
        if self.kept_heads is not None:
            gate, position_bias = gate[:, self.kept_heads], position_bias[self.kept_heads]
        bias = gate * position_bias  # (B, heads, T, T)
        return bias if key_mask is None else bias.masked_fill(~key_mask, float("-inf"))

    def _gate(self, hidden: Tensor) -> Tensor:
        batch, frames, _ = hidden.shape
        queries = hidden.view(batch, frames, self.total_heads, -1).transpose(1, 2)
        logits = self.gru_rel_pos_linear(queries).view(batch, self.total_heads, frames, 2, 4).sum(-1)
        update, reset = torch.sigmoid(logits).chunk(2, dim=-1)  # (B, total_heads, T, 1) each
        return update * (reset * self.gru_rel_pos_const - 1.0) + 2.0


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, config: CompressedSpeechConfig, width: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, width)
        self.intermediate_dropout = nn.Dropout(config.activation_dropout)
        self.output_dense = nn.Linear(width, config.hidden_size)
        self.output_dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to the same shape."""
        inner = self.intermediate_dropout(F.gelu(self.intermediate_dense(hidden)))
        return self.output_dropout(self.output_dense(inner))


class EncoderLayer(nn.Module):
    """Attention and feed-forward blocks, each on a residual branch. Either may be absent."""

    def __init__(self, config: CompressedSpeechConfig, heads: list[int], feed_forward: int) -> None:
        super().__init__()
        attention = GatedSelfAttention if config.family == "wavlm" else SelfAttention
        self.norm_first = config.do_stable_layer_norm
        self.attention = attention(config, heads) if heads else None
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feed_forward = FeedForward(config, feed_forward) if feed_forward else None
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, hidden: Tensor, key_mask: Tensor | None, position_bias: Tensor | None) -> Tensor:
        """Map (B, T, D) to the same shape; see `SelfAttention`."""
        if self.attention is not None:
            normed = self.layer_norm(hidden) if self.norm_first else hidden
            hidden = hidden + self.dropout(self.attention(normed, key_mask, position_bias))
        if not self.norm_first:
            hidden = self.layer_norm(hidden)
        if self.feed_forward is not None:
            normed = self.final_layer_norm(hidden) if self.norm_first else hidden
            hidden = hidden + self.feed_forward(normed)
        return hidden if self.norm_first else self.final_layer_norm(hidden)


class Encoder(nn.Module):
    """The transformer."""

    def __init__(self, config: CompressedSpeechConfig) -> None:
        super().__init__()
        layers = range(config.num_hidden_layers)
        heads = config.kept_heads or [[*range(config.num_attention_heads)] for _ in layers]
        sizes = config.feed_forward_sizes or [config.intermediate_size for _ in layers]
        self.config = config
        self.pos_conv_embed = PositionalConvolution(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(EncoderLayer(config, heads[index], sizes[index]) for index in layers)
        self.rel_attn_embed = None
        if config.has_position_bias:
            self.rel_attn_embed = nn.Embedding(config.num_buckets, config.num_attention_heads)

    def forward(self, projected: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Return the input of the first layer and the output of every layer, (B, T, D) each.

        The last one is normalised in pre-norm models.
        """
        hidden = projected + self.pos_conv_embed(projected)
        if not self.config.do_stable_layer_norm:
            hidden = self.layer_norm(hidden)
        hidden = self.dropout(hidden)
        states = [hidden]
        key_mask = None if mask is None else mask[:, None, None, :]
        position_bias = self.position_bias(hidden.shape[1])
        for layer in self.layers:
            if not (self.training and torch.rand(()).item() < self.config.layerdrop):
                hidden = layer(hidden, key_mask, position_bias)
            states.append(hidden)
        if self.config.do_stable_layer_norm:
            states[-1] = self.layer_norm(states[-1])
        return states

    def position_bias(self, num_frames: int) -> Tensor | None:
        """Return WavLM's bias of every head, (num_attention_heads, T, T). Far frames share buckets."""
        if self.rel_attn_embed is None:
            return None
        position = torch.arange(num_frames, device=self.rel_attn_embed.weight.device)
        distance = position[None, :] - position[:, None]
        half = self.config.num_buckets // 2
        exact = half // 2
        far = torch.log(distance.abs().clamp(min=1).float() / exact)
        far = far / math.log(self.config.max_bucket_distance / exact)
        far_bucket = (exact + far * (half - exact)).long().clamp(max=half - 1)
        bucket = torch.where(distance.abs() < exact, distance.abs(), far_bucket) + half * (distance > 0)
        return self.rel_attn_embed(bucket).permute(2, 0, 1).contiguous()


class LowRankLinear(nn.Module):
    """Two linear layers in place of one."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return self.up(self.down(inputs))


class CompressedSpeechModel(CompressedSpeechPreTrainedModel):
    """The bare model."""

    def __init__(self, config: CompressedSpeechConfig) -> None:
        super().__init__(config)
        self.feature_extractor = FeatureExtractor(config)
        self.feature_projection = FeatureProjection(config)
        self.encoder = Encoder(config)
        ranks: dict[str, int] = config.ranks or {}
        for path, rank in ranks.items():
            dense = self.get_submodule(path)
            parent, _, name = path.rpartition(".")
            setattr(self.get_submodule(parent), name, LowRankLinear(dense.in_features, dense.out_features, rank))
        if config.mask_time_prob > 0 or config.mask_feature_prob > 0:
            self.masked_spec_embed = nn.Parameter(torch.rand(config.hidden_size))
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple[Tensor, ...]:
        """Compute the hidden states: the input of the first layer, and the output of every layer.

        Args:
            input_values: (B, samples) at 16 kHz, zero-padded; see ``preprocessor_config.json`` for their scale.
            attention_mask: (B, samples), 1 for valid samples. None: all are valid.
            output_attentions: must be false: the fused attention keeps no weights.
            output_hidden_states: whether to return all hidden states.
            return_dict: whether to return an object rather than a tuple.
        """
        if output_attentions:
            raise ValueError("Attention weights are not available: attention is fused.")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        features = self.feature_extractor(input_values)  # (B, T, C)
        mask = self.frame_mask(attention_mask, features.shape[1])
        projected = self.spec_augmented(self.feature_projection(features), mask)  # (B, T, D)
        if mask is not None:
            projected = projected.masked_fill(~mask[:, :, None], 0.0)
        states = self.encoder(projected, mask)
        output = BaseModelOutput(states[-1], tuple(states) if output_hidden_states else None)
        return _returned(output, self.config, return_dict)

    def spec_augmented(self, projected: Tensor, mask: Tensor | None) -> Tensor:
        """Mask spans of frames and features in training, if the configuration asks for it (arXiv 1904.08779)."""
        config = self.config
        if not (self.training and config.apply_spec_augment and hasattr(self, "masked_spec_embed")):
            return projected
        from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

        batch, frames, width = projected.shape
        if config.mask_time_prob > 0:
            spans = _compute_mask_indices(
                (batch, frames),
                config.mask_time_prob,
                config.mask_time_length,
                attention_mask=mask,
                min_masks=config.mask_time_min_masks,
            )
            spans = torch.as_tensor(spans, device=projected.device)
            projected = torch.where(spans[:, :, None], self.masked_spec_embed.to(projected.dtype), projected)
        if config.mask_feature_prob > 0:
            bands = _compute_mask_indices(
                (batch, width),
                config.mask_feature_prob,
                config.mask_feature_length,
                min_masks=config.mask_feature_min_masks,
            )
            bands = torch.as_tensor(bands, device=projected.device)
            projected = projected.masked_fill(bands[:, None, :], 0.0)
        return projected


class CompressedSpeechForCTC(CompressedSpeechPreTrainedModel):
    """The model with a linear layer for CTC."""

    def __init__(self, config: CompressedSpeechConfig) -> None:
        super().__init__(config)
        self.upstream = CompressedSpeechModel(config)
        self.dropout = nn.Dropout(config.final_dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: Tensor | None = None,
    ) -> CausalLMOutput | tuple[Tensor, ...]:
        """Compute logits (B, T, vocab_size), and CTC's loss if there are labels (B, tokens), padded with -100."""
        output = self.upstream(input_values, attention_mask, output_attentions, output_hidden_states, True)
        logits = self.lm_head(self.dropout(output.last_hidden_state))
        loss = None
        if labels is not None:
            if int(labels.max()) >= self.config.vocab_size:
                raise ValueError(f"Labels must be below vocab_size, {self.config.vocab_size}.")
            if attention_mask is None:
                attention_mask = torch.ones_like(input_values, dtype=torch.long)
            is_token = labels >= 0
            log_probabilities = F.log_softmax(logits, dim=-1, dtype=torch.float32).transpose(0, 1)
            # cuDNN's CTC needs the blank to be 0 and has limits on lengths.
            with torch.backends.cudnn.flags(enabled=False):
                loss = F.ctc_loss(
                    log_probabilities,
                    labels[is_token],
                    self._get_feat_extract_output_lengths(attention_mask.sum(-1)),
                    is_token.sum(-1),
                    blank=self.config.pad_token_id,
                    reduction=self.config.ctc_loss_reduction,
                    zero_infinity=self.config.ctc_zero_infinity,
                )
        return _returned(CausalLMOutput(loss, logits, output.hidden_states), self.config, return_dict)


class CompressedSpeechForSequenceClassification(CompressedSpeechPreTrainedModel):
    """The model with a head that classifies whole utterances: projection, mean over frames, linear layer."""

    def __init__(self, config: CompressedSpeechConfig) -> None:
        super().__init__(config)
        self.upstream = CompressedSpeechModel(config)
        self.layer_weights = _layer_weights(config)
        self.projector = nn.Linear(config.hidden_size, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: Tensor | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Compute logits (B, num_labels), and the cross entropy if there are labels (B,)."""
        output = self.upstream(input_values, attention_mask, output_attentions, True, True)
        projected = self.projector(_weighted(output.hidden_states, self.layer_weights))  # (B, T, classifier_proj_size)
        mask = self.frame_mask(attention_mask, projected.shape[1])
        if mask is None:
            pooled = projected.mean(dim=1)
        else:
            pooled = (projected * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        logits = self.classifier(pooled)
        loss = None if labels is None else F.cross_entropy(logits, labels.view(-1))
        states = output.hidden_states if _wants_states(self.config, output_hidden_states) else None
        return _returned(SequenceClassifierOutput(loss, logits, states), self.config, return_dict)


class CompressedSpeechForAudioFrameClassification(CompressedSpeechPreTrainedModel):
    """The model with a linear layer that classifies every frame."""

    def __init__(self, config: CompressedSpeechConfig) -> None:
        super().__init__(config)
        self.upstream = CompressedSpeechModel(config)
        self.layer_weights = _layer_weights(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> TokenClassifierOutput | tuple[Tensor, ...]:
        """Compute logits (B, T, num_labels), and the cross entropy if there are one-hot labels (B, T, num_labels)."""
        output = self.upstream(input_values, attention_mask, output_attentions, True, True)
        logits = self.classifier(_weighted(output.hidden_states, self.layer_weights))
        loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten(0, 1).argmax(dim=-1))
        states = output.hidden_states if _wants_states(self.config, output_hidden_states) else None
        return _returned(TokenClassifierOutput(loss, logits, states), self.config, return_dict)


def _layer_weights(config: CompressedSpeechConfig) -> nn.Parameter | None:
    num_states = config.num_hidden_layers + 1
    return nn.Parameter(torch.full((num_states,), 1 / num_states)) if config.use_weighted_layer_sum else None


def _weighted(states: tuple[Tensor, ...], layer_weights: Tensor | None) -> Tensor:
    if layer_weights is None:
        return states[-1]
    return (torch.stack(states, dim=1) * layer_weights.softmax(dim=-1).view(-1, 1, 1)).sum(dim=1)


def _wants_states(config: CompressedSpeechConfig, output_hidden_states: bool | None) -> bool:
    return config.output_hidden_states if output_hidden_states is None else output_hidden_states


def _returned(output: Any, config: CompressedSpeechConfig, return_dict: bool | None) -> Any:
    return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()
