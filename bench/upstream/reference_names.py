"""Model names in any case, and names with several possible meanings."""

from __future__ import annotations

from bench.upstream.conversion import bundle_names
from bench.upstream.random_shapes import SHAPES

FBANK = "fbank"
RANDOM = "random:"
MINI_HUBERT = "mini-hubert"

PUBLISHED = {
    "hubert_base": ("HUBERT_BASE", "facebook/hubert-base-ls960"),
    "hubert_large": ("HUBERT_LARGE", "facebook/hubert-large-ll60k"),
    "wav2vec2_base": ("WAV2VEC2_BASE", "facebook/wav2vec2-base"),
    "wav2vec2_large": ("WAV2VEC2_LARGE_LV60K", "facebook/wav2vec2-large-lv60"),
    "wavlm_base_plus": ("WAVLM_BASE_PLUS", "microsoft/wavlm-base-plus"),
    "wavlm_large": ("WAVLM_LARGE", "microsoft/wavlm-large"),
    "distilhubert": ("ntu-spml/distilhubert",),
}
"""Shape to the references of published weights of this shape: torchaudio's bundle and the hub id."""


def spelled_name(name: str) -> str:
    """Return a model name in its official case. Other text and ambiguous names are not changed."""
    if name.lower().startswith(RANDOM):
        shape = name[len(RANDOM) :]
        return RANDOM + (shape.lower() if shape.lower() in SHAPES else shape)
    if name.lower() in (FBANK, MINI_HUBERT):
        return name.lower()
    if name in SHAPES or "/" in name:
        return name
    return {bundle.lower(): bundle for bundle in bundle_names()}.get(name.lower(), name)


def meanings(name: str) -> list[str]:
    """List the references that the bare name of a shape could mean: published weights first, then random ones."""
    shape = name.lower()
    return [*PUBLISHED[shape], RANDOM + shape] if shape in PUBLISHED else []
