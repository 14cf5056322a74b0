"""Model names in any case, and names with several possible meanings."""

from __future__ import annotations

import re
from pathlib import Path

from bench.upstream.conversion.torchaudio import bundle_names
from bench.upstream.random_shapes import SHAPES

HUB = "hub:"
"""Prefix of a hub id that could be mistaken for a path."""
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,95}/[A-Za-z0-9_.-]{1,95}[A-Za-z0-9_-]")
_REVISION = re.compile(r"(?!.*(?:\.\.|//))[A-Za-z0-9_][A-Za-z0-9_./+-]{0,199}(?<![./])")
"""Names of git's branches, tags and commits, without unusual ones."""
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")

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


def split_revision(reference: str) -> tuple[str, str | None]:
    """Split ``owner/name@revision`` into the hub id and the revision, None without ``@``."""
    repository, has_revision, revision = reference.partition("@")
    return repository, revision if has_revision else None


def is_revision(revision: str) -> bool:
    """Return whether a branch, a tag or a commit can have this name."""
    return bool(_REVISION.fullmatch(revision))


def looks_like_hub_id(reference: str) -> bool:
    """Return whether a reference has the form of a model on Hugging Face's hub, with or without ``@revision``."""
    repository, _ = split_revision(reference)
    return bool(HUB_ID.fullmatch(repository)) and not reference.endswith(CHECKPOINT_SUFFIXES)


def hub_id(reference: str) -> str | None:
    """Return the id on Hugging Face's hub of the model that a reference names. None for local and unknown models."""
    if reference.startswith(HUB):
        return split_revision(reference.removeprefix(HUB))[0]
    published = {names[0]: names[-1] for names in PUBLISHED.values()}
    if reference in published:
        return published[reference]
    return split_revision(reference)[0] if looks_like_hub_id(reference) and not Path(reference).exists() else None
