"""How much work a cell is: updates of the head, and speech that passes through the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.contracts import Context, EvaluationWork, SplitSize

if TYPE_CHECKING:
    from tasks.heads.config import HeadConfig

SEARCH_SEED = 0
"""Seed of the heads of a search for the learning rate. The cell with this seed continues the winner's training instead
of repeating it."""


FRAMES_PER_S = 50
"""Frames of a stride of 320 samples."""
TRAINING_PASSES = 3
"""A training pass costs as much as this many forward passes."""


def evaluation_work(
    config: HeadConfig, sizes: Mapping[str, SplitSize], num_folds: int, context: Context
) -> EvaluationWork:
    """Estimate the work of one cell; see `bench.contracts.EstimatesWork`.

    Args:
        config: settings of the head.
        sizes: of ``train``, ``dev`` and ``test``, of the mean fold if there are several.
        num_folds: trainings at one learning rate.
        context: seed, device and protocol of the cell.
    """
    num_trained = num_heads(config, context)
    parts = {split: limited(size, config, split) for split, size in sizes.items()}
    is_stored = context.protocol == "cached" and config.feature_choice(context.device).is_stored
    passes = dict.fromkeys(parts, 1.0) if is_stored else passes_of_head(config, parts, num_trained, num_folds)
    return EvaluationWork(
        updates=num_trained * num_folds * config.total_steps,
        num_utterances=round(sum(passes[split] * size.num_utterances for split, size in parts.items())),
        audio_s=sum(passes[split] * size.duration_s for split, size in parts.items()),
        is_stored=is_stored,
        num_learning_rates=num_learning_rates(config, context),
    )


def head_macs(
    config: HeadConfig,
    sizes: Mapping[str, SplitSize],
    num_folds: int,
    context: Context,
    num_states: int,
    dim: int,
) -> int:
    """Count the MACs of one cell's head; see `bench.contracts.CountsHead`. Other arguments as in `evaluation_work`.

    Heads on stored time means count one frame per utterance. The output layer, whose size depends on the corpus, is not
    counted.
    """
    parts = {split: limited(size, config, split) for split, size in sizes.items()}
    passes = passes_of_head(config, parts, num_heads(config, context), num_folds)
    is_pooled = config.features == "means" and context.protocol == "cached"
    frames = 0.0
    for split, size in parts.items():
        of_split = size.num_utterances if is_pooled else size.duration_s * FRAMES_PER_S
        frames += (TRAINING_PASSES if split == "train" else 1) * passes[split] * of_split
    return round(frames * (num_states * dim + config.head_macs_per_frame(dim)))


def num_learning_rates(config: HeadConfig, context: Context) -> int:
    """Return how many learning rates a cell tries. The first seed searches for all."""
    searches = config.learning_rate == "auto" and context.seed == min({context.seed, *context.seed_workdirs})
    return len(config.learning_rates) if searches else 1


def num_heads(config: HeadConfig, context: Context) -> int:
    """Return how many heads of one fold a cell trains: those of its search, and its own if that had another seed."""
    num_rates = num_learning_rates(config, context)
    return num_rates + (num_rates > 1 and context.seed != SEARCH_SEED)


def passes_of_head(
    config: HeadConfig, parts: Mapping[str, SplitSize], num_trained: int, num_folds: int
) -> dict[str, float]:
    """Return how often the head sees each split.

    Args:
        config: settings of the head.
        parts: limited sizes of the splits.
        num_trained: heads that are trained of one fold.
        num_folds: number of folds.
    """
    num_trainings = num_trained * num_folds
    utterances = num_trainings * config.total_steps * config.gradient_accumulation_steps * config.batch_size
    # The best head is scored on dev again, and on test.
    evaluations = num_trainings * (config.total_steps // config.eval_interval_steps + 1)
    wanted = {"train": utterances / max(1, parts["train"].num_utterances), "dev": evaluations, "test": num_folds}
    return {split: float(wanted[split]) for split in parts}


def limited(size: SplitSize, config: HeadConfig, split: str) -> SplitSize:
    """Limit a split to the configured number and length of utterances, as if all had the mean length."""
    limit = config.max_train_utterances if split == "train" else config.max_eval_utterances
    num_utterances = min(size.num_utterances, limit or size.num_utterances)
    mean_s = size.duration_s / max(1, size.num_utterances)
    longest_s = config.longest_train_s if split == "train" else config.max_duration_s
    return SplitSize(num_utterances, num_utterances * min(mean_s, longest_s or mean_s))
