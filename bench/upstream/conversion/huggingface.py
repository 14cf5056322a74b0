"""Hugging Face's HuBERT, wav2vec 2.0, WavLM and UniSpeech: folders and hub ids, read without transformers."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, ones

from bench.errors import UserError
from bench.files.json import read_json_object
from bench.text import shortened
from bench.upstream.config import (
    MAX_CONV_LAYERS,
    Architecture,
    ConvLayerShape,
    Distance,
    DropoutRates,
    Epsilon,
    Flag,
    Kernel,
    NumBuckets,
    NumHeads,
    NumLayers,
    Probability,
    TransformerLayerShape,
    UpstreamConfig,
    Width,
)
from bench.upstream.conversion.files import only_tensors, read_safetensors, read_torch, validated
from bench.upstream.conversion.keys import CHANNEL_SCALE, HUGGING_FACE
from bench.upstream.conversion.unreadable import recognised_weights
from bench.upstream.conversion.weights import Checkpoint

logger = logging.getLogger(__name__)

_PER_CONVOLUTION = Field(min_length=1, max_length=MAX_CONV_LAYERS)
_MAX_SHARDS = 1000

_ARCHITECTURES: dict[str, Architecture] = {
    "hubert": "hubert",
    "wav2vec2": "wav2vec2",
    "wavlm": "wavlm",
    # Both are wav2vec 2.0's network, trained in another way.
    "unispeech": "wav2vec2",
    "unispeech-sat": "wav2vec2",
}
"""``model_type`` in ``config.json`` to the network that it names."""

_HUB_FILES = ("config.json", "preprocessor_config.json", "processor_config.json")


class _Config(BaseModel):
    """The entries of ``config.json`` that determine the network, with Hugging Face's names and defaults."""

    model_config = ConfigDict(extra="ignore")

    model_type: Literal["hubert", "wav2vec2", "wavlm", "unispeech", "unispeech-sat"]
    hidden_size: Width = 768
    num_hidden_layers: NumLayers = 12
    num_attention_heads: NumHeads = 12
    intermediate_size: Width = 3072
    hidden_act: Literal["gelu"] = "gelu"
    hidden_dropout: Probability = 0.1
    activation_dropout: Probability = 0.1
    attention_dropout: Probability = 0.1
    feat_proj_dropout: Probability = 0.0
    feat_proj_layer_norm: Flag = True
    layer_norm_eps: Epsilon = 1e-5
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_extract_activation: Literal["gelu"] = "gelu"
    conv_dim: Annotated[tuple[Width, ...], _PER_CONVOLUTION] = (512,) * 7
    conv_stride: Annotated[tuple[Kernel, ...], _PER_CONVOLUTION] = (5, 2, 2, 2, 2, 2, 2)
    conv_kernel: Annotated[tuple[Kernel, ...], _PER_CONVOLUTION] = (10, 3, 3, 3, 3, 2, 2)
    conv_bias: Flag = False
    num_conv_pos_embeddings: Kernel = 128
    num_conv_pos_embedding_groups: Width = 16
    do_stable_layer_norm: Flag = False
    num_buckets: NumBuckets = 320
    max_bucket_distance: Distance = 800
    conv_pos_batch_norm: Literal[False] = False
    add_adapter: Literal[False] = False
    adapter_attn_dim: None = None

    @model_validator(mode="after")
    def _consistent(self) -> _Config:
        if not len(self.conv_dim) == len(self.conv_stride) == len(self.conv_kernel):
            raise ValueError("conv_dim, conv_stride and conv_kernel differ in length")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"hidden_size is no multiple of {self.num_attention_heads} attention heads")
        return self

    def shape(self, *, normalize_waveform: bool) -> dict[str, object]:
        """Describe the same network as fields of `UpstreamConfig`."""
        layer = TransformerLayerShape(heads=tuple(range(self.num_attention_heads)), feed_forward=self.intermediate_size)
        return {
            "architecture": _ARCHITECTURES[self.model_type],
            "extractor_norm": "group_norm" if self.feat_extract_norm == "group" else "layer_norm",
            "conv_layers": tuple(
                ConvLayerShape(channels=channels, kernel=kernel, stride=stride)
                for channels, kernel, stride in zip(self.conv_dim, self.conv_kernel, self.conv_stride, strict=True)
            ),
            "conv_bias": self.conv_bias,
            "dim": self.hidden_size,
            # Only HuBERT's class has this option. The others ignore it.
            "projection_layer_norm": self.feat_proj_layer_norm or self.model_type != "hubert",
            "positional_kernel": self.num_conv_pos_embeddings,
            "positional_groups": self.num_conv_pos_embedding_groups,
            "layer_norm_first": self.do_stable_layer_norm,
            "layer_norm_eps": self.layer_norm_eps,
            "total_heads": self.num_attention_heads,
            "head_dim": self.hidden_size // self.num_attention_heads,
            "layers": (layer,) * self.num_hidden_layers,
            "relative_position": {"num_buckets": self.num_buckets, "max_distance": self.max_bucket_distance}
            if self.model_type == "wavlm"
            else None,
            "normalize_waveform": normalize_waveform,
            "dropout": DropoutRates(
                projection=self.feat_proj_dropout,
                attention=self.attention_dropout,
                feed_forward=self.activation_dropout,
                hidden=self.hidden_dropout,
            ),
        }


class _Index(BaseModel):
    """Maps each weight to its file, if there are several files."""

    weight_map: dict[str, str]


def read_huggingface(folder: Path) -> Checkpoint:
    """Read a folder that ``save_pretrained`` wrote: a bare model, or a model with a head, which is ignored.

    Raises:
        UserError: another architecture, an unsupported option, or missing or truncated files.
    """
    config_path = folder / "config.json"
    content = read_json_object(config_path)
    model_type = content.get("model_type")
    if not isinstance(model_type, str) or model_type not in _ARCHITECTURES:
        raise UserError(
            f"Expected a model_type of {', '.join(_ARCHITECTURES)} in {config_path}. Found {_quoted(model_type)}. "
            "Choose a HuBERT, wav2vec 2.0, WavLM or UniSpeech model."
        )
    config = validated(_Config, content, config_path)
    weights = HUGGING_FACE.apply(_read_weights(folder), folder)
    weights[CHANNEL_SCALE] = ones(config.conv_dim[-1])
    shape = config.shape(normalize_waveform=_normalizes(folder, config))
    return Checkpoint(validated(UpstreamConfig, shape, config_path), weights, str(folder))


def download_from_hub(repository: str, revision: str | None = None) -> Path:
    """Download a model's configuration and weights from Hugging Face's hub, or find them in the local cache.

    With ``HF_HUB_OFFLINE=1``, only the local cache is searched.

    Args:
        repository: owner and name.
        revision: a branch, a tag or a commit. Default: the main branch.

    Raises:
        UserError: its cache cannot be used, offline and not cached, unknown, private, gated, or the network failed.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, HTTPError  # type: ignore[attr-defined]

    try:
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=[*_HUB_FILES, "model*.safetensors*"])
        )
        if not any(folder.glob("model*.safetensors")):
            folder = Path(
                snapshot_download(repository, revision=revision, allow_patterns=[*_HUB_FILES, "pytorch_model*.bin*"])
            )
    except (HTTPError, EntryNotFoundError, OSError, ValueError, RuntimeError) as error:
        named = repository if revision is None else f"{repository}@{shortened(revision)}"
        raise UserError(f"Expected a model at {named}. Found no such folder here. {_hub_failure(error)}") from error
    return folder


def _hub_failure(error: BaseException) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, FileExistsError | NotADirectoryError | PermissionError):
        return (
            f"The cache {shortened(constants.HF_HUB_CACHE, 120)} of Hugging Face's hub cannot be used "
            f"({error.strerror}). Set HF_HOME to a folder of yours."
        )
    if constants.HF_HUB_OFFLINE:
        return (
            f"HF_HUB_OFFLINE is set, so only the cache {constants.HF_HUB_CACHE} was searched, and does not have it. "
            "Unset it, or name a local folder."
        )
    if isinstance(error, GatedRepoError):
        return "Hugging Face's hub asks for a login: accept the model's terms on its page, and run `hf auth login`."
    if isinstance(error, RevisionNotFoundError):
        return "Hugging Face's hub has the model, without this revision. Name a branch, a tag or a commit of it."
    if isinstance(error, RepositoryNotFoundError):
        return "Hugging Face's hub has no public model of this name either. Correct the name."
    return f"Hugging Face's hub could not be asked ({type(error).__name__}). Check the network, or name a local folder."


def _read_weights(folder: Path) -> dict[str, Tensor]:
    for name, read in (("model.safetensors", read_safetensors), ("pytorch_model.bin", read_torch)):
        if (folder / name).exists():
            return only_tensors(read(folder / name), folder / name)
        index = folder / f"{name}.index.json"
        if index.exists():
            return {
                key: value
                for shard in _shards(index)
                for key, value in only_tensors(read(folder / shard), folder / shard).items()
            }
    raise UserError(
        f"Expected model.safetensors or pytorch_model.bin in {folder}. "
        + (recognised_weights(folder) or "Found neither. Save the model with save_pretrained, or copy it completely.")
    )


def _shards(index: Path) -> list[str]:
    """List the files that an index names.

    Raises:
        UserError: the index is truncated, or names a file outside its folder.
    """
    shards = sorted(set(validated(_Index, read_json_object(index), index).weight_map.values()))
    outside = next((shard for shard in shards if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", shard)), None)
    if outside is not None:
        raise UserError(
            f"Expected names of files next to {index} in its weight_map. Found {_quoted(outside)}. Copy the "
            "model again."
        )
    if len(shards) > _MAX_SHARDS:
        raise UserError(f"Expected at most {_MAX_SHARDS} files in the weight_map of {index}. Found {len(shards)}.")
    return shards


def _quoted(value: object) -> str:
    return shortened(repr(value) if isinstance(value, str) else value, 60)


def _normalizes(folder: Path, config: _Config) -> bool:
    """Return whether the waveform must be scaled to zero mean and unit variance."""
    wanted = _preprocessor_normalizes(folder)
    if config.feat_extract_norm == "group":
        # The original Base models were trained on unscaled waveforms, although Hugging Face's processors say otherwise.
        if wanted:
            logger.warning(
                "%s: do_normalize is ignored, as models with group normalisation were trained on waveforms as they "
                "are. Their states depend on loudness: scale very quiet audio first.",
                folder,
            )
        return False
    if wanted is None:
        logger.warning("%s has no preprocessor_config.json with do_normalize: waveforms are not normalised", folder)
    return bool(wanted)


def _preprocessor_normalizes(folder: Path) -> bool | None:
    """Read ``do_normalize``. None if no file has it.

    Raises:
        UserError: it is neither true nor false, or a file is truncated.
    """
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).exists():
            content = read_json_object(folder / name)
            # Newer processors store the content of the former separate file as an entry.
            extractor = content.get("feature_extractor")
            found = (extractor if isinstance(extractor, dict) else content).get("do_normalize")
            if isinstance(found, bool):
                return found
            if found is not None:
                raise UserError(
                    f"Expected do_normalize to be true or false in {folder / name}. Found {shortened(found, 40)}."
                )
    return None
