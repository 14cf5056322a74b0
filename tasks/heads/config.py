"""Settings that all tasks share: how a head is trained, and on how much of the corpus.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
from pydantic import Field

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import Context, EvaluationWork, Settings, SplitSize, Upstream
from bench.contracts.bounds import Batches, BatchSize, DurationS, LearningRate, Processes, Seed, Steps, Utterances
from tasks.feature_cache.choice import FeatureChoice, FrameCache, Kind, Precision
from tasks.heads.subsets import short_enough, stratified
from tasks.heads.work import evaluation_work, head_macs

PAPER: dict[str, Any] = {"num_workers": 6}
"""Settings that the presets ``paper`` of all tasks share."""
MINI: dict[str, Any] = {"num_workers": 0}
SUPERB_RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Learning rates that the presets ``paper`` search, one per decade. SUPERB searched 1e-1 to 1e-7 on a log scale, five
rates for each upstream and task.

Source: github.com/s3prl/s3prl, issues 498 and 120.
"""
FRAME_RATES = (1e-5, 1e-4, 5e-4, 1e-3, 1e-2)
"""The same for heads on frames, around the published ones: LightHuBERT reports 1e-4 for ASR and SF and 5e-4 for PR and
SD, and s3prl's documentation trains ASR at 1e-5.

Source: github.com/mechanicalsea/lighthubert, issue 2; s3prl, ``downstream/docs/superb.md``.
"""
SMOKE: dict[str, Any] = {"total_steps": 20, "eval_interval_steps": 10, "save_interval_steps": 10, "num_workers": 0}


class HeadConfig(Settings):
    """Training of a head on a frozen upstream, by s3prl's recipe (Adam, constant learning rate)."""

    features: ClassVar[Kind] = "frames"
    """Which features the head trains on."""

    total_steps: Steps
    """Optimizer steps."""
    learning_rate: LearningRate | Literal["auto"]
    """Adam's constant learning rate. ``auto`` searches ``learning_rates`` for the best on dev, with seed 0."""
    learning_rates: tuple[LearningRate, ...] = Field(default=(1e-4, 1e-3, 1e-2, 1e-1), min_length=1, max_length=100)
    """Candidates of ``learning_rate: auto``."""
    batch_size: BatchSize
    """Utterances per forward and backward pass."""
    gradient_accumulation_steps: Batches = 1
    """Passes per optimizer step."""
    eval_batch_size: BatchSize
    """Utterances per forward pass on dev and test. Part of the protocol, because padding changes some upstreams'
    features. ASR, PR and SF with ``--protocol cached`` take batches of about one length instead, which change no
    result."""
    eval_interval_steps: Steps
    """Steps between evaluations on dev, which select the best head."""
    save_interval_steps: Steps
    """Steps between checkpoints."""
    num_workers: Processes
    """Data-loading processes; 0 loads in the training process."""
    feature_precision: Precision = "fp32"
    """Precision of the upstream's forward pass with ``--protocol cached``. ``bf16`` and ``fp16`` are faster on a GPU
    and change the features a little. Features of each precision are stored apart."""
    frame_cache: FrameCache = "auto"
    """Whether frames are stored with ``--protocol cached``: on ``disk``, or ``none``, which computes them at every
    step. ``auto`` stores them on a CPU: a GPU computes them faster than a disk reads them."""
    max_train_utterances: Utterances | None = None
    """Train on a fixed, stratified subset of at most this many utterances; null uses all. See ``subset_draw``."""
    max_eval_utterances: Utterances | None = None
    """Evaluate on fixed, stratified subsets of dev and test of at most this many utterances; null uses all. See
    ``subset_draw``."""
    subset_draw: Seed | Literal["shortest"] = 0
    """Seed of the subsets. They are drawn from the ids alone, evenly over classes or speakers: all models and seeds of
    a run use the same subset, and a smaller one is part of a larger one. ``shortest`` takes the shortest utterances,
    which is fast but biased; earlier versions always did so."""
    max_duration_s: DurationS | None = None
    """Leave out longer utterances of train, dev and test, to limit memory; null uses all."""

    @classmethod
    def as_kept(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Add defaults that an earlier version applied without storing them."""
        is_limited = settings.get("max_train_utterances") or settings.get("max_eval_utterances")
        return {"subset_draw": "shortest", **settings} if is_limited else dict(settings)

    def recipe_arguments(self) -> dict[str, Any]:
        """Return the arguments of s3prl's recipe. Tasks add their own."""
        return {
            "num_workers": self.num_workers,
            "build_batch_sampler": {
                "train": {"batch_size": self.batch_size},
                "valid": {"batch_size": self.eval_batch_size},
                "test": {"batch_size": self.eval_batch_size},
            },
            "build_optimizer": {"conf": {"lr": self.learning_rate}},
            "train": {
                "total_steps": self.total_steps,
                "eval_step": self.eval_interval_steps,
                "save_step": self.save_interval_steps,
                "gradient_accumulate": self.gradient_accumulation_steps,
            },
        }

    def fields_without_effect(self) -> Collection[str]:
        """Means are always stored."""
        return {"frame_cache"} if self.features == "means" else ()

    @property
    def longest_train_s(self) -> float | None:
        """Longest training utterance. None: no limit."""
        return self.max_duration_s

    def evaluation_work(self, sizes: Mapping[str, SplitSize], context: Context) -> EvaluationWork:
        """Estimate the work of one cell; see `bench.contracts.EstimatesWork`."""
        return evaluation_work(self, *self.mean_fold(sizes), context)

    def head_macs(self, sizes: Mapping[str, SplitSize], context: Context, num_states: int, dim: int) -> int:
        """Count the MACs of one cell's head; see `bench.contracts.CountsHead`."""
        return head_macs(self, *self.mean_fold(sizes), context, num_states, dim)

    def head_macs_per_frame(self, dim: int) -> int:  # noqa: ARG002 - for subclasses
        """Return the MACs of a forward pass over one frame of width ``dim``, after the weighted sum of the states."""
        return 0

    def mean_fold(self, sizes: Mapping[str, SplitSize]) -> tuple[Mapping[str, SplitSize], int]:
        """Return the sizes of ``train``, ``dev`` and ``test`` in the mean fold, and the number of folds."""
        return sizes, 1

    def trains_together(self, context: Context) -> bool:
        """Return whether heads that differ in learning rate and seed are trained at once."""
        return self.features == "means" and context.protocol == "cached"

    def feature_choice(self, device: str) -> FeatureChoice:
        """Return which features the head trains on, and how they are had."""
        return FeatureChoice(self.features, device, self.feature_precision, self.frame_cache)

    def feature_store(
        self, upstream: Upstream, weights: str, sizes: Mapping[str, SplitSize], context: Context
    ) -> tuple[Path, int]:
        """Return the folder of this head's features and the most bytes they can take.

        See `bench.contracts.KeepsFeatures`.
        """
        from tasks.feature_cache.features import DTYPES
        from tasks.feature_cache.upstream import store_folder

        folder = store_folder(weights, self.features, context, self.feature_precision)
        if not self.feature_choice(context.device).is_stored:
            return folder, 0
        limits = {"train": self.max_train_utterances, "dev": self.max_eval_utterances, "test": self.max_eval_utterances}
        frames = 0.0
        for split, size in sizes.items():
            num_utterances = min(size.num_utterances, limits.get(split) or size.num_utterances)
            frames += num_utterances
            if self.features == "frames":
                # One frame per started stride, for utterances of mean length.
                share = num_utterances / max(1, size.num_utterances)
                frames += share * size.duration_s * SAMPLE_RATE_HZ / upstream.stride
        frame_bytes = (upstream.num_layers + 1) * upstream.dim * DTYPES[self.features].itemsize
        return folder, round(frames * frame_bytes)

    def limited(self, splits: Mapping[str, pd.DataFrame], by: str) -> dict[str, pd.DataFrame]:
        """Limit the splits to the configured sizes, stratified by the column ``by`` if it exists.

        Raises:
            UserError: ``max_duration_s`` leaves a split empty.
        """
        return {
            name: stratified(
                short_enough(frame, self.max_duration_s, name),
                by,
                self.max_train_utterances if name == "train" else self.max_eval_utterances,
                self.subset_draw,
            )
            for name, frame in splits.items()
        }
