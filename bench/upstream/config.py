"""The shape of an upstream as data: the sizes of every layer, so that a pruned model is an ordinary model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

SCHEMA_VERSION = 1

Architecture = Literal["hubert", "wav2vec2", "wavlm"]

# A shape read from a file decides how much memory and time a model takes. Each bound is several times the largest
# published value (XLS-R 2B: 48 layers of width 1,920).
MAX_LAYERS = 256
MAX_CONV_LAYERS = 16
MAX_HEADS = 1024
MAX_WIDTH = 65_536
MAX_FEED_FORWARD = 2**18
"""Shallow students at low sparsity need wide feed-forward blocks: 138,760 for half of wav2vec 2.0 Large."""
STRIDE_RANGE = (40, 16_000)
"""Samples between two frames: 2.5 ms to 1 s. Published models use 320."""
MAX_WINDOW = 16_000
"""Largest receptive field of one frame, in samples. Published models use 400."""

Width = Annotated[int, Field(strict=True, gt=0, le=MAX_WIDTH)]
"""Features or channels of one layer."""
NumHeads = Annotated[int, Field(strict=True, gt=0, le=MAX_HEADS)]
NumLayers = Annotated[int, Field(strict=True, gt=0, le=MAX_LAYERS)]
Heads = Annotated[tuple[Annotated[int, Field(strict=True, ge=0, lt=MAX_HEADS)], ...], Field(max_length=MAX_HEADS)]
"""Indices of attention heads."""
UpToWidth = Annotated[int, Field(strict=True, ge=0, le=MAX_WIDTH)]
"""Like `Width`, but may be 0."""
Kernel = Annotated[int, Field(strict=True, gt=0, le=4096)]
"""Kernel size or stride of a convolution."""
NumBuckets = Annotated[int, Field(strict=True, ge=4, le=MAX_WIDTH)]
"""Buckets of WavLM's relative distances: half for each direction, and half of those for exact distances."""
Distance = Annotated[int, Field(strict=True, gt=0, le=1_000_000)]
Probability = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Epsilon = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ConvLayerShape(_Shape):
    """One layer of the convolutional feature extractor."""

    channels: Width
    """Output channels."""
    kernel: Kernel
    """Kernel size, in frames of the layer below (in samples for the first layer)."""
    stride: Kernel
    """Hop, in frames of the layer below (in samples for the first layer)."""


class TransformerLayerShape(_Shape):
    """One transformer layer. If a block is absent, its residual connection and the LayerNorms remain."""

    heads: Heads
    """Indices of the kept attention heads, among the teacher's ``total_heads``. Empty: no attention block."""
    feed_forward: Annotated[int, Field(strict=True, ge=0, le=MAX_FEED_FORWARD)]
    """Width of the feed-forward block. 0: no feed-forward block."""


class DropoutRates(_Shape):
    """Dropout rates in training mode. They have no effect in evaluation."""

    projection: Probability = 0.1
    """After the feature projection."""
    attention: Probability = 0.1
    """On attention probabilities."""
    feed_forward: Probability = 0.0
    """Inside the feed-forward block, after its activation (``activation_dropout`` elsewhere)."""
    hidden: Probability = 0.1
    """On the residual branches and after the positional convolution."""
    layer: Probability = 0.0
    """Probability of skipping a whole transformer layer (``layerdrop`` elsewhere)."""


class RelativePosition(_Shape):
    """WavLM's gated relative position bias (arXiv 2110.13900, section III-A)."""

    num_buckets: NumBuckets = 320
    """Buckets of relative distances, half of them for each direction."""
    max_distance: Distance = 800
    """Distance in frames from which all distances share the last bucket."""
    has_embedding: Flag = True
    """False if the embedding was removed with layer 0's attention, as in DPHuBERT. No layer has a bias then."""

    @model_validator(mode="after")
    def _has_logarithmic_buckets(self) -> RelativePosition:
        # Beyond a quarter of the buckets, distances up to max_distance share buckets on a logarithmic scale.
        if self.max_distance <= self.num_buckets // 4:
            raise ValueError(f"max_distance {self.max_distance} is not above a quarter of num_buckets")
        return self


class ReducedLinear(_Shape):
    """The form of a linear layer that is not one dense float32 weight."""

    rank: Width | None = None
    """Number of features between the two layers that replace it; the first has no bias. None: one layer."""
    dtype: Literal["float32", "int8"] = "float32"
    """Type of its weights. ``int8`` adds one float32 scale per output and a float32 bias."""
    activations: Literal["dynamic", "static"] = "dynamic"
    """How an int8 layer rounds its inputs: in a range measured at every call, or in a fixed range, stored as a scale
    and a zero point."""

    @model_validator(mode="after")
    def _reduces(self) -> ReducedLinear:
        if self.activations == "static" and self.dtype != "int8":
            raise ValueError(f"static activations belong to int8 weights; dtype is {self.dtype}")
        if self.rank is None and self.dtype == "float32":
            raise ValueError("neither rank nor dtype differs from a dense float32 layer's")
        return self


def _sorted_by_path(pairs: Iterable[tuple[str, ReducedLinear]]) -> tuple[tuple[str, ReducedLinear], ...]:
    return tuple(sorted(pairs, key=lambda pair: pair[0]))


def _as_written(reduced: ReducedLinear) -> dict[str, object]:
    """Leave ``activations`` out where earlier versions, which do not know it, can read the model."""
    return reduced.model_dump(exclude=set() if reduced.activations == "static" else {"activations"})


ReducedLinears = Annotated[
    tuple[tuple[str, ReducedLinear], ...],
    BeforeValidator(lambda value: tuple(value.items()) if isinstance(value, Mapping) else value),
    AfterValidator(_sorted_by_path),
    PlainSerializer(lambda pairs: {module: _as_written(reduced) for module, reduced in pairs}),
]
"""Module path and how that module is reduced, sorted by path. Files write it as a mapping."""


class UpstreamConfig(_Shape):
    """The full shape of a HuBERT, wav2vec 2.0 or WavLM upstream."""

    schema_version: Annotated[int, Field(strict=True)] = SCHEMA_VERSION
    """Schema version of ``config.json``."""
    architecture: Architecture
    """HuBERT and wav2vec 2.0 share one network. Tables show the name."""
    extractor_norm: Literal["group_norm", "layer_norm"]
    """``group_norm``: after the first convolution only (Base). ``layer_norm``: after every convolution (Large)."""
    conv_layers: Annotated[tuple[ConvLayerShape, ...], Field(max_length=MAX_CONV_LAYERS)]
    """The convolutional feature extractor, in order."""
    conv_bias: Flag = False
    """Whether the extractor's convolutions have a bias."""
    dim: Width
    """Width of the transformer's residual stream (``encoder_embed_dim``, ``hidden_size``)."""
    projection_layer_norm: Flag = True
    """LayerNorm before the feature projection. DistilHuBERT has none."""
    positional_kernel: Kernel = 128
    """Kernel of the positional convolution, in frames."""
    positional_groups: Width = 16
    """Groups of the positional convolution."""
    layer_norm_first: Flag = False
    """Pre-norm (Large) instead of post-norm (Base)."""
    layer_norm_eps: Epsilon = 1e-5
    """Epsilon of every LayerNorm outside the feature extractor."""
    total_heads: NumHeads
    """Attention heads per layer of the unpruned model. Head indices refer to these."""
    head_dim: Width
    """Width of one head."""
    layers: Annotated[tuple[TransformerLayerShape, ...], Field(max_length=MAX_LAYERS)]
    """The transformer layers, in order."""
    relative_position: RelativePosition | None = None
    """WavLM only."""
    normalize_waveform: Flag = False
    """Scale each utterance to zero mean and unit variance before the first convolution (Large)."""
    dropout: DropoutRates = DropoutRates()
    """Training only."""
    reduced_linears: ReducedLinears = ()
    """Linear layers that are low-rank or int8. All others are dense float32."""

    @model_validator(mode="after")
    def _consistent(self) -> UpstreamConfig:
        if not self.conv_layers:
            raise ValueError("the feature extractor needs at least one layer")
        if not STRIDE_RANGE[0] <= self.stride <= STRIDE_RANGE[1] or self.window > MAX_WINDOW:
            raise ValueError(
                f"the convolutions make a frame of {self.window} samples every {self.stride}; expected at most "
                f"{MAX_WINDOW} every {STRIDE_RANGE[0]} to {STRIDE_RANGE[1]}"
            )
        if self.total_heads * self.head_dim > MAX_WIDTH:
            raise ValueError(f"{self.total_heads} heads of {self.head_dim} are wider than {MAX_WIDTH}")
        if self.dim % self.positional_groups:
            raise ValueError(f"dim {self.dim} is not a multiple of positional_groups {self.positional_groups}")
        for index, layer in enumerate(self.layers):
            if len(set(layer.heads)) != len(layer.heads) or not set(layer.heads) <= set(range(self.total_heads)):
                raise ValueError(f"layer {index} keeps heads {layer.heads} of {self.total_heads}")
        if (self.architecture == "wavlm") != (self.relative_position is not None):
            raise ValueError("relative_position belongs to WavLM and only to it")
        if self.relative_position is not None and self.dim % self.total_heads:
            raise ValueError(f"dim {self.dim} is not a multiple of total_heads {self.total_heads}")
        self._check_reduced_linears()
        return self

    def _check_reduced_linears(self) -> None:
        sizes = self.linear_sizes
        for module, reduced in self.reduced_linears:
            if module not in sizes:
                raise ValueError(f"reduced_linears names {module}, which is no linear layer of this shape")
            if reduced.rank is not None and reduced.rank > min(sizes[module]):
                inputs, outputs = sizes[module]
                raise ValueError(
                    f"{module} has rank {reduced.rank}; a layer of {inputs} inputs and {outputs} outputs has at most "
                    f"{min(inputs, outputs)}"
                )

    def with_reduced_linears(self, reduced: Mapping[str, ReducedLinear]) -> UpstreamConfig:
        """Return this shape with further linear layers reduced, keyed by module path.

        Raises:
            ValueError: there is no such layer, or a rank exceeds the layer's.
        """
        changed = self.model_copy(
            update={"reduced_linears": _sorted_by_path({**dict(self.reduced_linears), **reduced}.items())}
        )
        changed._check_reduced_linears()
        return changed

    @property
    def linear_sizes(self) -> dict[str, tuple[int, int]]:
        """Map each linear layer's module path to its inputs and outputs, without the gates of WavLM's position bias."""
        sizes = {"feature_projection.projection": (self.conv_layers[-1].channels, self.dim)}
        for index, layer in enumerate(self.layers):
            width = len(layer.heads) * self.head_dim
            if layer.heads:
                attention = f"layers.{index}.attention"
                sizes |= {f"{attention}.{name}": (self.dim, width) for name in ("k_proj", "v_proj", "q_proj")}
                sizes[f"{attention}.out_proj"] = (width, self.dim)
            if layer.feed_forward:
                sizes[f"layers.{index}.feed_forward.intermediate_dense"] = (self.dim, layer.feed_forward)
                sizes[f"layers.{index}.feed_forward.output_dense"] = (layer.feed_forward, self.dim)
        return sizes

    @property
    def has_int8(self) -> bool:
        """Whether any linear layer is int8. Such a model has no gradients, and integer kernels on the CPU only."""
        return any(reduced.dtype == "int8" for _, reduced in self.reduced_linears)

    @property
    def dynamic_int8(self) -> list[str]:
        """Paths of the int8 layers that measure the range of their inputs at every call."""
        return [
            path
            for path, reduced in self.reduced_linears
            if (reduced.dtype, reduced.activations) == ("int8", "dynamic")
        ]

    @property
    def num_layers(self) -> int:
        """Number of transformer layers."""
        return len(self.layers)

    @property
    def stride(self) -> int:
        """Samples between two frames at 16 kHz."""
        stride = 1
        for layer in self.conv_layers:
            stride *= layer.stride
        return stride

    @property
    def window(self) -> int:
        """Receptive field of one frame in samples, which is also the shortest possible input."""
        samples = 1
        for layer in reversed(self.conv_layers):
            samples = (samples - 1) * layer.stride + layer.kernel
        return samples

    def num_frames(self, num_samples: int) -> int:
        """Return the number of frames for ``num_samples`` samples. 0 if the input is too short."""
        frames = num_samples
        for layer in self.conv_layers:
            frames = max((frames - layer.kernel) // layer.stride + 1, 0)
        return frames


BASE_CONV_KERNELS = (10, 3, 3, 3, 3, 2, 2)
BASE_CONV_STRIDES = (5, 2, 2, 2, 2, 2, 2)


def uniform_config(
    architecture: Architecture,
    dim: int,
    num_layers: int,
    total_heads: int,
    feed_forward: int,
    conv_channels: int | Sequence[int] = 512,
    *,
    large: bool = False,
    **changes: object,
) -> UpstreamConfig:
    """Describe an unpruned model of the published family.

    Args:
        architecture: ``hubert``, ``wav2vec2`` or ``wavlm``.
        dim: width of the residual stream. Each head is ``dim // total_heads`` wide.
        num_layers: number of transformer layers.
        total_heads: attention heads of each layer.
        feed_forward: width of each feed-forward block.
        conv_channels: channels of each of the seven convolutions, or one number for all of them.
        large: layer-norm extractor with bias, pre-norm transformer, normalised waveforms.
        changes: further fields of `UpstreamConfig`.

    Source: wav2vec 2.0 (arXiv 2006.11477) section 4.2 and appendix B; HuBERT (arXiv 2106.07447) table I.
    """
    channels = [conv_channels] * len(BASE_CONV_KERNELS) if isinstance(conv_channels, int) else list(conv_channels)
    fields: dict[str, object] = {
        "architecture": architecture,
        "extractor_norm": "layer_norm" if large else "group_norm",
        "conv_layers": tuple(
            ConvLayerShape(channels=width, kernel=kernel, stride=stride)
            for width, kernel, stride in zip(channels, BASE_CONV_KERNELS, BASE_CONV_STRIDES, strict=True)
        ),
        "conv_bias": large,
        "dim": dim,
        "layer_norm_first": large,
        "total_heads": total_heads,
        "head_dim": dim // total_heads,
        "layers": (TransformerLayerShape(heads=tuple(range(total_heads)), feed_forward=feed_forward),) * num_layers,
        "relative_position": RelativePosition() if architecture == "wavlm" else None,
        "normalize_waveform": large,
    }
    return UpstreamConfig.model_validate(fields | changes)
