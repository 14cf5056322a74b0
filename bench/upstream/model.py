"""HuBERT, wav2vec 2.0 and WavLM as one network. Read it from top to bottom.

Letters in shape comments: B utterances in a batch, T frames, C channels of a convolution, D the model's ``dim``.

Source: wav2vec 2.0 (arXiv 2006.11477) section 2; HuBERT (arXiv 2106.07447) section II; WavLM (arXiv 2110.13900).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from bench.upstream.attention import SelfAttention
from bench.upstream.config import ConvLayerShape, TransformerLayerShape, UpstreamConfig
from bench.upstream.reduced_linears import reduced_linear
from bench.upstream.wavlm_attention import GatedSelfAttention, RelativePositionBias

if TYPE_CHECKING:
    from collections.abc import Iterable


class UpstreamModel(nn.Module):
    """A speech upstream whose sizes are all given by data.

    Modules have the names of Hugging Face's checkpoints where those exist.
    """

    def __init__(self, config: UpstreamConfig) -> None:
        super().__init__()
        self.config = config
        self.feature_extractor = FeatureExtractor(config)
        self.feature_projection = FeatureProjection(config)
        self.positional_convolution = PositionalConvolution(config)
        self.layer_norm = nn.LayerNorm(config.dim, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout.hidden)
        self.layers = nn.ModuleList(TransformerLayer(config, layer) for layer in config.layers)
        self.position_bias: RelativePositionBias | None = None
        if config.relative_position is not None and config.relative_position.has_embedding:
            self.position_bias = RelativePositionBias(config.relative_position, config.total_heads)
        for path, reduced in config.reduced_linears:
            self.set_submodule(path, reduced_linear(*config.linear_sizes[path], reduced))

    @property
    def stride(self) -> int:
        """Samples between two frames at 16 kHz."""
        return self.config.stride

    @property
    def num_layers(self) -> int:
        """Number of transformer layers."""
        return self.config.num_layers

    @property
    def dim(self) -> int:
        """Width of every hidden state."""
        return self.config.dim

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Compute SUPERB's hidden states.

        State 0 is the input of the first transformer layer. A pre-norm model applies its final LayerNorm to the last.

        Args:
            waveforms: (batch, samples) float32 at 16 kHz, zero-padded.
            lengths: (batch,) valid samples of each utterance. Default: all samples. Keep them on the CPU: lengths on a
                device are never read, because reading would wait for the device.

        Returns:
            ``num_layers + 1`` tensors (batch, frames, dim), and the valid frames of each utterance (batch,).

        Raises:
            ValueError: an utterance is too short for a single frame (400 samples), if its length is on the CPU.
        """
        features, frame_lengths = self.extract(waveforms, lengths)
        valid = None if lengths is None else valid_frames(frame_lengths, features)
        return self.contextualise(self.project(features, valid), valid), frame_lengths

    def distillation_states(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Compute DPHuBERT's hidden states, with arguments and shapes as in `forward`.

        State 0 is the feature projection, before the positional convolution. The others are the raw residual
        stream, without the final LayerNorm of a pre-norm model.

        Source: DPHuBERT (arXiv 2305.17651) section 3.1, and its reference implementation.
        """
        features, frame_lengths = self.extract(waveforms, lengths)
        valid = None if lengths is None else valid_frames(frame_lengths, features)
        return self.distillation_states_of(features, valid), frame_lengths

    def distillation_states_of(self, features: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        """Compute the states of `distillation_states` from the features of `extract`. ``valid`` is as in `project`."""
        projected = self.project(features, valid)
        return [projected, *self._transform(projected, valid)[1:]]

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Map lengths in samples (batch,) to lengths in frames (batch,)."""
        for layer in self.config.conv_layers:
            # `div` with a rounding mode would become float32 in ONNX, which counts to 2**24 samples.
            lengths = ((lengths - layer.kernel) // layer.stride + 1).clamp(min=0)
        return lengths

    def extract(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the extractor's features (batch, frames, channels), the first of the three steps of `forward`.

        Arguments, frame lengths and errors are as in `forward`.
        """
        shortest = waveforms.shape[1]
        if lengths is None:
            lengths = torch.full((waveforms.shape[0],), waveforms.shape[1], device=waveforms.device)
        elif _is_readable(lengths):
            shortest = min(shortest, int(lengths.min()))
        if shortest < self.config.window:
            raise ValueError(f"an utterance of {shortest} samples is too short for a single frame")
        if self.config.normalize_waveform:
            waveforms = normalized(waveforms, lengths.to(waveforms.device, non_blocking=True))
        features: Tensor = self.feature_extractor(waveforms)  # (B, T, C)
        return features, self.frame_lengths(lengths)

    def project(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Project features to (batch, frames, dim), the second step of `forward`. Padding is zero.

        Masked prediction replaces frames of this result.

        Args:
            features: of `extract`.
            valid: (batch, frames) bool, see `valid_frames`. Default: there is no padding.
        """
        projected: Tensor = self.feature_projection(features)  # (B, T, D)
        if valid is not None:
            projected = projected.masked_fill(~valid[:, :, None], 0.0)
        return projected

    def contextualise(self, projected: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        """Compute SUPERB's hidden states of projected features, the last step of `forward`.

        ``valid`` is as in `project`.
        """
        states = self._transform(projected, valid)
        if self.config.layer_norm_first:
            states[-1] = self.layer_norm(states[-1])
        return states

    def _transform(self, projected: Tensor, valid: Tensor | None) -> list[Tensor]:
        hidden = projected + self.positional_convolution(projected)
        if not self.config.layer_norm_first:
            hidden = self.layer_norm(hidden)
        hidden = self.dropout(hidden)  # (B, T, D)
        states = [hidden]
        key_mask = None if valid is None else valid[:, None, None, :]
        position_bias = None if self.position_bias is None else self.position_bias(hidden.shape[1])
        for layer in cast("Iterable[TransformerLayer]", self.layers):
            if not self._drops_layer():
                hidden = layer(hidden, key_mask, position_bias)
            states.append(hidden)
        return states

    def _drops_layer(self) -> bool:
        rate = self.config.dropout.layer
        return self.training and rate > 0 and torch.rand(()).item() < rate


def normalized(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Scale each utterance's valid samples to zero mean and unit variance; padding stays zero."""
    mask = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
    count = lengths[:, None].to(waveforms.dtype)
    centred = (waveforms - (waveforms * mask).sum(1, keepdim=True) / count) * mask
    variance = centred.square().sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + 1e-5)


def valid_frames(frame_lengths: Tensor, features: Tensor) -> Tensor | None:
    """Mark the valid frames of features (batch, frames, channels).

    Returns:
        (batch, frames) bool on the features' device. None if all frames are known to be valid, because kernels are then
        faster.
    """
    num_frames = features.shape[1]
    if _is_readable(frame_lengths) and int(frame_lengths.min()) >= num_frames:
        return None
    valid = torch.arange(num_frames, device=frame_lengths.device) < frame_lengths[:, None]
    return valid.to(features.device, non_blocking=True)


def _is_readable(lengths: Tensor) -> bool:
    """Whether the values can decide what to compute without waiting for a device or fixing them in a captured graph."""
    is_captured = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return lengths.device.type == "cpu" and not is_captured


class FeatureExtractor(nn.Module):
    """Strided convolutions from the waveform to 50 frames a second."""

    channel_scale: Tensor

    def __init__(self, config: UpstreamConfig) -> None:
        super().__init__()
        inputs = [1, *(layer.channels for layer in config.conv_layers)]
        self.conv_layers = nn.ModuleList(
            ConvLayer(inputs[index], shape, config, is_first=index == 0)
            for index, shape in enumerate(config.conv_layers)
        )
        # A LayerNorm follows the last convolution, so its gates cannot be folded into a neighbour's weights.
        self.register_buffer("channel_scale", torch.ones(inputs[-1]))

    def forward(self, waveforms: Tensor) -> Tensor:
        """Map (batch, samples) to (batch, frames, channels)."""
        hidden = waveforms.unsqueeze(1)  # (B, 1, samples)
        for layer in self.conv_layers:
            hidden = layer(hidden)  # (B, C, T)
        # Scaled before it is transposed, so that torch.export needs no guard on the number of frames.
        return (hidden * self.channel_scale[:, None]).transpose(1, 2)


class ConvLayer(nn.Module):
    """Convolution, normalisation if the model type has one, and GELU."""

    def __init__(self, in_channels: int, shape: ConvLayerShape, config: UpstreamConfig, *, is_first: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, shape.channels, shape.kernel, shape.stride, bias=config.conv_bias)
        self.layer_norm: nn.GroupNorm | nn.LayerNorm | None = None
        if config.extractor_norm == "layer_norm":
            self.layer_norm = nn.LayerNorm(shape.channels)
        elif is_first:
            self.layer_norm = nn.GroupNorm(shape.channels, shape.channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, in_channels, frames) to (batch, channels, fewer frames)."""
        hidden = self.conv(hidden)
        if isinstance(self.layer_norm, nn.LayerNorm):
            hidden = self.layer_norm(hidden.transpose(1, 2)).transpose(1, 2)
        elif self.layer_norm is not None:
            hidden = self.layer_norm(hidden)
        return F.gelu(hidden)


class FeatureProjection(nn.Module):
    """LayerNorm and a linear layer from the extractor's channels to the transformer's width."""

    def __init__(self, config: UpstreamConfig) -> None:
        super().__init__()
        channels = config.conv_layers[-1].channels
        has_norm = config.projection_layer_norm
        self.layer_norm = nn.LayerNorm(channels, config.layer_norm_eps) if has_norm else nn.Identity()
        self.projection = nn.Linear(channels, config.dim)
        self.dropout = nn.Dropout(config.dropout.projection)

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, frames, channels) to (batch, frames, dim)."""
        projected: Tensor = self.dropout(self.projection(self.layer_norm(features)))
        return projected


class PositionalConvolution(nn.Module):
    """A wide grouped convolution in place of position embeddings, weight-normalised over the kernel."""

    def __init__(self, config: UpstreamConfig) -> None:
        super().__init__()
        kernel = config.positional_kernel
        convolution = nn.Conv1d(config.dim, config.dim, kernel, padding=kernel // 2, groups=config.positional_groups)
        self.conv = parametrizations.weight_norm(convolution, name="weight", dim=2)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, frames, dim) to the same shape."""
        frames = hidden.shape[1]
        convolved = self._convolved(hidden.transpose(1, 2))
        # An even kernel gives one frame too many.
        return F.gelu(convolved[:, :, :frames]).transpose(1, 2)

    def _convolved(self, hidden: Tensor) -> Tensor:
        convolved: Tensor
        if hidden.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # In bf16, oneDNN silently gives wrong results on some CPUs for even kernels with few channels per group.
            with torch.autocast("cpu", enabled=False):
                convolved = self.conv(hidden.float())
        else:
            convolved = self.conv(hidden)
        return convolved


class TransformerLayer(nn.Module):
    """Attention and feed-forward blocks, each on a residual branch. Either may be absent."""

    def __init__(self, config: UpstreamConfig, shape: TransformerLayerShape) -> None:
        super().__init__()
        self.layer_norm_first = config.layer_norm_first
        self.attention = _attention(config, shape) if shape.heads else None
        self.dropout = nn.Dropout(config.dropout.hidden)
        self.layer_norm = nn.LayerNorm(config.dim, config.layer_norm_eps)
        self.feed_forward = FeedForward(config, shape.feed_forward) if shape.feed_forward else None
        self.final_layer_norm = nn.LayerNorm(config.dim, config.layer_norm_eps)

    def forward(self, hidden: Tensor, key_mask: Tensor | None, position_bias: Tensor | None) -> Tensor:
        """Map (batch, frames, dim) to the same shape. For the masks see `SelfAttention`."""
        if self.attention is not None:
            normed = self.layer_norm(hidden) if self.layer_norm_first else hidden
            hidden = hidden + self.dropout(self.attention(normed, key_mask, position_bias))
        if not self.layer_norm_first:
            hidden = self.layer_norm(hidden)
        if self.feed_forward is not None:
            normed = self.final_layer_norm(hidden) if self.layer_norm_first else hidden
            hidden = hidden + self.feed_forward(normed)
        return hidden if self.layer_norm_first else self.final_layer_norm(hidden)


def _attention(config: UpstreamConfig, shape: TransformerLayerShape) -> SelfAttention:
    if config.relative_position is None:
        return SelfAttention(config.dim, shape.heads, config.head_dim, config.dropout.attention)
    return GatedSelfAttention(config.dim, shape.heads, config.head_dim, config.dropout.attention, config.total_heads)


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, config: UpstreamConfig, width: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.dim, width)
        self.intermediate_dropout = nn.Dropout(config.dropout.feed_forward)
        self.output_dense = nn.Linear(width, config.dim)
        self.output_dropout = nn.Dropout(config.dropout.hidden)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, frames, dim) to the same shape."""
        inner = self.intermediate_dropout(F.gelu(self.intermediate_dense(hidden)))
        output: Tensor = self.output_dropout(self.output_dense(inner))
        return output
