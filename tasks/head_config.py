"""What the configurations of all tasks share: how a downstream head is trained, and on how much of a corpus.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from bench.audio import SAMPLE_RATE_HZ
from bench.contracts import Context, Settings, SplitSize, Upstream


class HeadConfig(Settings):
    """Training of a downstream head on a frozen upstream, by s3prl's recipe (Adam, constant learning rate)."""

    features: ClassVar[Literal["means", "frames"]] = "frames"
    """What the head needs of the hidden states, see `tasks.feature_cache.features.Kind`."""

    total_steps: PositiveInt
    """Optimizer steps."""
    learning_rate: PositiveFloat | Literal["auto"]
    """Adam's; constant. ``auto`` takes the one of ``learning_rates`` whose head, with seed 0, does best on dev."""
    learning_rates: tuple[PositiveFloat, ...] = Field(default=(1e-4, 1e-3, 1e-2, 1e-1), min_length=1)
    """Candidates of ``learning_rate: auto``."""
    batch_size: PositiveInt
    """Utterances a forward and backward pass."""
    gradient_accumulation_steps: PositiveInt = 1
    """Such passes an optimizer step."""
    eval_batch_size: PositiveInt
    """Utterances a forward pass on dev and test. Padding changes some upstreams' features, so it is part of the
    protocol."""
    eval_interval_steps: PositiveInt
    """Steps between two evaluations on dev, each of which may find a new best head."""
    save_interval_steps: PositiveInt
    """Steps between two checkpoints."""
    num_workers: NonNegativeInt
    """Data-loading processes of their own; 0 reads in the training process."""
    max_train_utterances: PositiveInt | None = None
    """Train on a fixed, stratified subset of at most so many utterances; null takes all."""
    max_eval_utterances: PositiveInt | None = None
    """Evaluate on fixed, stratified subsets of dev and test of at most so many utterances; null takes all."""

    def recipe_arguments(self) -> dict[str, Any]:
        """Spell the configuration in s3prl's words; tasks add their own."""
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

    def feature_store(
        self, upstream: Upstream, weights: str, sizes: Mapping[str, SplitSize], context: Context
    ) -> tuple[Path, int]:
        """Say where the features for this head are kept and how many bytes they take at most.

        See `bench.contracts.KeepsFeatures`.
        """
        from tasks.feature_cache.features import DTYPES
        from tasks.feature_cache.upstream import store_folder

        limits = {"train": self.max_train_utterances, "dev": self.max_eval_utterances, "test": self.max_eval_utterances}
        frames = 0.0
        for split, size in sizes.items():
            num_utterances = min(size.num_utterances, limits.get(split) or size.num_utterances)
            frames += num_utterances
            if self.features == "frames":
                # One frame a stride begun, of utterances of the mean length.
                share = num_utterances / max(1, size.num_utterances)
                frames += share * size.duration_s * SAMPLE_RATE_HZ / upstream.stride
        frame_bytes = (upstream.num_layers + 1) * upstream.dim * DTYPES[self.features].itemsize
        return store_folder(weights, self.features, context), round(frames * frame_bytes)

    def limited(self, splits: Mapping[str, pd.DataFrame], by: str) -> dict[str, pd.DataFrame]:
        """Cut the splits to the configured sizes, taking from each value of the column ``by``, if any, in turn."""
        return {
            name: _stratified(frame, by, self.max_train_utterances if name == "train" else self.max_eval_utterances)
            for name, frame in splits.items()
        }


def _stratified(frame: pd.DataFrame, by: str, limit: int | None) -> pd.DataFrame:
    """Keep ``limit`` rows, the shortest of each group first, in the frame's order."""
    if limit is None or len(frame) <= limit:
        return frame
    # Short utterances keep a smoke test short on any corpus.
    shortest_first = frame.sort_values(["num_samples", "id"], kind="stable")
    turn = shortest_first.groupby(by if by in frame else lambda _: 0).cumcount()
    chosen = turn.sort_values(kind="stable").index[:limit]
    return frame.loc[chosen.sort_values()].reset_index(drop=True)
