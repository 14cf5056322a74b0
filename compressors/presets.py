"""Settings that the presets of several methods share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shared = Mapping[str, Any]

_PAPER_AUDIO: Shared = {"min_duration_s": 2.0, "max_duration_s": 15.625, "precision": "auto"}
"""The published recipes train in fp16, which ``precision=fp16`` repeats. bf16 needs no loss scaling."""

DPHUBERT_TRAINING: Shared = {
    **_PAPER_AUDIO,
    "seconds_per_batch": 160,
    "accumulate_batches": 4,
    "drop_longer": True,
    "max_gradient_norm": 10.0,
    "num_workers": 4,
}
"""DPHuBERT's recipe: four GPUs of 160 s. Methods without a published recipe of their own use it too.

Source: Peng et al. (arXiv 2305.17651) section 4.1, and the reference implementation."""

DISTILHUBERT_TRAINING: Shared = {
    **_PAPER_AUDIO,
    "seconds_per_batch": 295,
    "max_gradient_norm": 5.0,
    "num_workers": 4,
}
"""DistilHuBERT's recipe: 24 utterances of 12.3 s, the mean over LibriSpeech. Durations are those of DPHuBERT's recipe.

Source: Chang et al. (arXiv 2110.01900), and its implementation in s3prl."""

HUBERT_TRAINING: Shared = {
    **_PAPER_AUDIO,
    "seconds_per_batch": 87.5,
    "accumulate_batches": 32,
    "max_gradient_norm": 10.0,
    "num_workers": 6,
}
"""HuBERT Base's recipe: 32 GPUs of 87.5 s.

Source: Hsu et al. (arXiv 2106.07447) section IV-B, and the reference implementation's ``hubert_base_librispeech``."""

MINI_TRAINING: Shared = {
    "seconds_per_batch": 4.0,
    "min_duration_s": 0.5,
    "max_duration_s": 2.0,
    "checkpoint_updates": 50,
    "log_updates": 10,
}
"""Small batches, for one core."""

MINI_MASKED_PREDICTION: Shared = {
    "unmasked_loss_weight": 0.4,
    "feature_penalty_weight": 0.0,
    "extractor_gradient_scale": 1.0,
    "projection_dim": 64,
}
"""Masked prediction that learns in hundreds of updates."""
