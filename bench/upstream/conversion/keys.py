"""The names of one model's weights in every project, in one table, and the strict renaming to ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.errors import UserError
from bench.upstream.conversion.files import require_finite

CHANNEL_SCALE = "feature_extractor.channel_scale"


@dataclass(frozen=True)
class _Row:
    """The name of a weight here and elsewhere. Groups of a pattern are layer numbers and kinds of parameters."""

    ours: str
    """Key of `UpstreamModel`, with ``\\1`` and ``\\2`` for the groups of the patterns."""
    modules: str
    """Pattern of Hugging Face, torchaudio and DPHuBERT, whose modules have almost the same names."""
    fairseq: str
    """Pattern of fairseq, of s3prl's converted checkpoints and of Microsoft's WavLM."""


_CONV = r"feature_extractor\.conv_layers\.(\d+)\."
_LAYER = r"encoder\.(?:transformer\.)?layers\.(\d+)\."
_FAIRSEQ_LAYER = r"encoder\.layers\.(\d+)\."
_POSITIONAL = r"encoder\.(?:transformer\.)?pos_conv_embed\.conv\."
_FAIRSEQ_POSITIONAL = r"encoder\.pos_conv\.0\."
_PARAMETER = r"(weight|bias)"
_PROJECTION = r"([qkv]_proj|out_proj)\.(weight|bias)"
# Weight norm, in torch's old and new naming.
_LENGTH = r"(?:weight_g|parametrizations\.weight\.original0)"
_DIRECTION = r"(?:weight_v|parametrizations\.weight\.original1)"

TABLE = (
    _Row(
        r"feature_extractor.conv_layers.\1.conv.\2",
        _CONV + r"conv\." + _PARAMETER,
        _CONV + r"0\." + _PARAMETER,
    ),
    _Row(
        r"feature_extractor.conv_layers.\1.layer_norm.\2",
        _CONV + r"layer_norm\." + _PARAMETER,
        # A GroupNorm is entry 2. A LayerNorm is between two transpositions there.
        _CONV + r"2\.(?:1\.)?" + _PARAMETER,
    ),
    _Row(
        r"feature_projection.layer_norm.\1",
        r"(?:encoder\.)?feature_projection\.layer_norm\." + _PARAMETER,
        r"layer_norm\." + _PARAMETER,
    ),
    _Row(
        r"feature_projection.projection.\1",
        r"(?:encoder\.)?feature_projection\.projection\." + _PARAMETER,
        r"post_extract_proj\." + _PARAMETER,
    ),
    _Row("positional_convolution.conv.bias", _POSITIONAL + "bias", _FAIRSEQ_POSITIONAL + "bias"),
    _Row(
        "positional_convolution.conv.parametrizations.weight.original0",
        _POSITIONAL + _LENGTH,
        _FAIRSEQ_POSITIONAL + _LENGTH,
    ),
    _Row(
        "positional_convolution.conv.parametrizations.weight.original1",
        _POSITIONAL + _DIRECTION,
        _FAIRSEQ_POSITIONAL + _DIRECTION,
    ),
    _Row(
        r"layer_norm.\1",
        r"encoder\.(?:transformer\.)?layer_norm\." + _PARAMETER,
        r"encoder\.layer_norm\." + _PARAMETER,
    ),
    _Row(
        "position_bias.embedding.weight",
        r"encoder\.(?:transformer\.)?layers\.0\.attention\.rel_attn_embed\.weight",
        r"encoder\.layers\.0\.self_attn\.relative_attention_bias\.weight",
    ),
    _Row(
        r"layers.\1.attention.\2.\3",
        # torchaudio's WavLM keeps its projections in a `nn.MultiheadAttention`.
        _LAYER + r"attention\.(?:attention\.)?" + _PROJECTION,
        _FAIRSEQ_LAYER + r"self_attn\." + _PROJECTION,
    ),
    _Row(
        r"layers.\1.attention.gru_rel_pos_const",
        _LAYER + r"attention\.gru_rel_pos_const",
        _FAIRSEQ_LAYER + r"self_attn\.grep_a",
    ),
    _Row(
        r"layers.\1.attention.gru_rel_pos_linear.\2",
        _LAYER + r"attention\.gru_rel_pos_linear\." + _PARAMETER,
        _FAIRSEQ_LAYER + r"self_attn\.grep_linear\." + _PARAMETER,
    ),
    _Row(
        r"layers.\1.layer_norm.\2",
        _LAYER + r"layer_norm\." + _PARAMETER,
        _FAIRSEQ_LAYER + r"self_attn_layer_norm\." + _PARAMETER,
    ),
    _Row(
        r"layers.\1.feed_forward.intermediate_dense.\2",
        _LAYER + r"feed_forward\.intermediate_dense\." + _PARAMETER,
        _FAIRSEQ_LAYER + r"fc1\." + _PARAMETER,
    ),
    _Row(
        r"layers.\1.feed_forward.output_dense.\2",
        _LAYER + r"feed_forward\.output_dense\." + _PARAMETER,
        _FAIRSEQ_LAYER + r"fc2\." + _PARAMETER,
    ),
    _Row(
        r"layers.\1.final_layer_norm.\2",
        _LAYER + r"final_layer_norm\." + _PARAMETER,
        _FAIRSEQ_LAYER + r"final_layer_norm\." + _PARAMETER,
    ),
)
"""All weights of HuBERT, wav2vec 2.0 and WavLM."""


@dataclass(frozen=True)
class KeyMap:
    """How one source names its weights."""

    renamed: tuple[tuple[str, str], ...]
    """Pattern of a whole source key, and the resulting key of `UpstreamModel`. The first match counts."""
    ignored: tuple[str, ...] = ()
    """Patterns of source keys that do not belong to an upstream, such as task heads."""
    prefix: str = ""
    """Pattern of an optional prefix of source keys, including ignored ones."""

    def apply(self, weights: Mapping[str, Tensor], where: object) -> dict[str, Tensor]:
        """Rename weights, and convert them to float32.

        Raises:
            UserError: a key is neither known nor ignored, two keys map to one weight, or weights are integers, NaN or
                infinite.
        """
        result: dict[str, Tensor] = {}
        unknown = []
        for key, value in weights.items():
            target = self._target(key)
            if target is not None:
                if target in result:
                    raise UserError(f"Expected each weight once in {where}. Found a second {key}. Which is it?")
                if not value.is_floating_point():
                    raise UserError(f"Expected {key} of float32 in {where}. Found {value.dtype}. Save it as float32.")
                result[target] = value.to(torch.float32)
            elif not any(re.fullmatch(self.prefix + pattern, key) for pattern in self.ignored):
                unknown.append(key)
        if unknown:
            raise UserError(
                f"Expected the weights of a speech model in {where}. Found unknown ones: {listed(unknown)}."
            )
        require_finite(result, where)
        return result

    def _target(self, key: str) -> str | None:
        for pattern, target in self.renamed:
            match = re.fullmatch(self.prefix + pattern, key)
            if match:
                return match.expand(target)
        return None


_MODULES = tuple((row.modules, row.ours) for row in TABLE)

HUGGING_FACE = KeyMap(
    renamed=_MODULES,
    # Heads of ``For...`` classes, and the embedding that masks frames in pretraining.
    ignored=(
        r"masked_spec_embed",
        r"(?:lm_head|quantizer|projector|classifier|tdnn|ctc_proj|speaker_proj)\..+",
        r"project_(?:hid|q)\..+",
        r"layer_norm_for_extract\..+",
        r"label_embeddings_concat",
        r"layer_weights",
        r"feature_extractor\.(?:weight|bias)",
        r"objective\.weight",
    ),
    prefix=r"(?:hubert\.|wav2vec2\.|wavlm\.|unispeech\.|unispeech_sat\.)?",
)

TORCHAUDIO = KeyMap(
    renamed=((r"feature_extractor\.dummy_weight", CHANNEL_SCALE), *_MODULES),
    ignored=(r"aux\.(?:weight|bias)",),
    # Bundles of Large models wrap the actual model in one that normalises the waveform.
    prefix=r"(?:model\.)?",
)
"""torchaudio's names, and DPHuBERT's, which adds a scale of the last convolution's channels."""

FAIRSEQ = KeyMap(
    renamed=tuple((row.fairseq, row.ours) for row in TABLE),
    ignored=(
        r"mask_emb",
        r"label_embs_concat",
        r"(?:quantizer|project_q|final_proj|target_glu|proj|speaker_proj|layer_norm_for_extract)\..+",
    ),
    # Models that were fine-tuned for speech recognition.
    prefix=r"(?:w2v_encoder\.)?(?:w2v_model\.)?",
)

SUITE = KeyMap(renamed=((r"(.+)", r"\1"),))


def listed(names: Collection[str], shown: int = 3) -> str:
    """Name the first few of many."""
    first = ", ".join(name if len(name) <= 80 else f"{name[:77]}..." for name in sorted(names)[:shown])
    return first if len(names) <= shown else f"{first} and {len(names) - shown} more"
