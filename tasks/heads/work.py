"""How much work a cell is: updates of the head, and speech that passes through the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.contracts import Context, EvaluationWork, SplitSize

if TYPE_CHECKING:
    from tasks.heads.config import HeadConfig

SEARCH_SEED = 0
"""Seed of the heads of a search for the learning rate. The cell with this seed continues the winner's training instead
of repeating it. Here it counts as the cell that searches."""


def evaluation_work(
    config: HeadConfig, sizes: Mapping[str, SplitSize], context: Context, num_folds: int = 1
) -> EvaluationWork:
    """Estimate the work of one cell; see `bench.contracts.EstimatesWork`.

    Args:
        config: settings of the head.
        sizes: of ``train``, ``dev`` and ``test``, of the mean fold if there are several.
        context: seed, device and protocol of the cell.
        num_folds: trainings at one learning rate.
    """
    searches = config.learning_rate == "auto" and context.seed == SEARCH_SEED
    num_trainings = num_folds * (len(config.learning_rates) if searches else 1)
    updates = num_trainings * config.total_steps
    parts = {split: limited(size, config, split) for split, size in sizes.items()}
    is_stored = context.protocol == "cached" and config.feature_choice(context.device).is_stored
    if is_stored:
        passes = dict.fromkeys(parts, 1.0)
    else:
        utterances = updates * config.gradient_accumulation_steps * config.batch_size
        # The best head is scored on dev again, and on test.
        evaluations = num_trainings * (config.total_steps // config.eval_interval_steps + 1)
        wanted = {"train": utterances / max(1, parts["train"].num_utterances), "dev": evaluations, "test": num_folds}
        passes = {split: float(wanted[split]) for split in parts}
    return EvaluationWork(
        updates=updates,
        num_utterances=round(sum(passes[split] * size.num_utterances for split, size in parts.items())),
        audio_s=sum(passes[split] * size.duration_s for split, size in parts.items()),
        is_stored=is_stored,
    )


def limited(size: SplitSize, config: HeadConfig, split: str) -> SplitSize:
    """Limit a split to the configured number and length of utterances, as if all had the mean length."""
    limit = config.max_train_utterances if split == "train" else config.max_eval_utterances
    num_utterances = min(size.num_utterances, limit or size.num_utterances)
    mean_s = size.duration_s / max(1, size.num_utterances)
    longest_s = config.longest_train_s if split == "train" else config.max_duration_s
    return SplitSize(num_utterances, num_utterances * min(mean_s, longest_s or mean_s))
