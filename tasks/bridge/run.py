"""Runs s3prl's SUPERB recipes on our upstreams and corpora.

The recipes' own code builds, trains, selects and tests the head. The bridge changes this:

- The corpus is one table per split, and the upstream any `bench.contracts.Upstream`.
- Checkpoints hold the head alone and survive a kill (`tasks.bridge.head_checkpoints`).
- Resumed training equals uninterrupted training bit for bit (on a CPU, without data-loading workers and without
  s3prl's random crops).
- Each utterance's prediction is kept.
"""

from __future__ import annotations

import importlib.metadata
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from bench.contracts import Context, Upstream
from bench.errors import UserError
from bench.files.atomic import naming
from bench.stopwatch import measuring
from bench.upstream.checkpoint import weights_hash
from bench.workers.reader_errors import plain_reader_errors
from bench.workers.worker_tensors import prepare_workers
from tasks.bridge import s3prl_compat
from tasks.bridge.diarization import BridgedDiarization
from tasks.bridge.frozen_upstream import FrozenUpstream
from tasks.bridge.head_checkpoints import HeadCheckpoints
from tasks.bridge.interrupted_work import clear_work_of_others, data_sha256
from tasks.bridge.recipe import Splits, bridged_recipe
from tasks.bridge.together import STACKABLE, HeadInTraining, TogetherRecipe, fits_in_memory
from tasks.bridge.transcription import BridgedTranscription
from tasks.bridge.verification import BridgedVerification
from tasks.feature_cache.choice import FeatureChoice
from tasks.feature_cache.upstream import cached_features, hidden_states_of
from tasks.metrics.counts import Counts

s3prl_compat.install()
from omegaconf import OmegaConf  # noqa: E402

logger = logging.getLogger(__name__)

_OVERRIDES: Mapping[str, Any] = {
    "SuperbASV": BridgedVerification,
    "SuperbASR": BridgedTranscription,
    "SuperbPR": BridgedTranscription,
    "SuperbSD": BridgedDiarization,
    "SuperbSF": BridgedTranscription,
}
"""Classes for recipes that need more than `BridgedRecipe`."""
_SAMPLER_SEED = 12345678


@dataclass(frozen=True)
class RecipeResult:
    """The result of a recipe, scored on whole splits with the best head on dev."""

    predictions: list[dict[str, Any]]
    """One row per utterance or trial: id, split, reference and prediction as the recipe scored them, correct, counts,
    duration_s, and the columns of the split that no recipe reads."""
    settings: dict[str, Any]
    """Every argument of the recipe, its own metrics, library versions and split sizes, as plain values."""
    metrics: dict[str, dict[str, float]]
    """The recipe's own metrics on each scored split, including the loss."""

    def predictions_by_split(self) -> dict[str, list[dict[str, Any]]]:
        """Group the predictions by split."""
        return {split: [row for row in self.predictions if row["split"] == split] for split in self.metrics}


@dataclass(frozen=True)
class HeadToTrain:
    """A head of `train_together`; the arguments of `run_recipe` for it."""

    arguments: Mapping[str, Any]
    workdir: Path
    context: Context


def run_recipe(
    recipe: tuple[str, str],
    arguments: Mapping[str, Any],
    splits: Splits,
    upstream: Upstream,
    workdir: Path,
    context: Context,
    features: FeatureChoice,
    counts: Callable[[Any, Any], Counts],
    scored: Sequence[str] = ("dev", "test"),
) -> RecipeResult:
    """Train the recipe's head on the frozen upstream, and score it on the whole dev and test sets.

    After an interruption, the same call resumes from the last checkpoint. Files of another call are deleted.

    Args:
        recipe: module and class in s3prl, such as ``("s3prl.problem.common.superb_ks", "SuperbKS")``.
        arguments: changes to the recipe's ``default_config()``, with the same nesting.
        splits: the corpus.
        upstream: moved to the context's device, and left in eval mode.
        workdir: files are kept in its sub-folder ``s3prl``.
        context: its seed initialises the head and orders the batches; seed 0 gives s3prl's order.
        features: which features the head trains on, and how they are had, with the protocol ``cached``.
        counts: an utterance's contribution to every metric, given its reference and its prediction.
        scored: the splits to score; ``dev`` alone never touches test.

    Raises:
        UserError: an audio file is damaged or not finite, or the upstream's hidden states are not finite; or the
            protocol ``s3prl`` does not have the wanted features.
    """
    if context.protocol == "s3prl" and features.precision != "fp32":
        raise UserError(
            f"Expected feature_precision=fp32 with --protocol s3prl, which equals s3prl to every digit. Found "
            f"{features.precision}. Leave it out, or use --protocol cached."
        )
    problem = bridged_recipe(*recipe, _OVERRIDES.get(recipe[1]))()
    problem.upstream = cast(nn.Module, upstream).to(context.device).eval()
    problem.splits = splits
    problem.scored = scored
    target_dir = workdir / "s3prl"
    whole_arguments = run_arguments(problem.default_config(), arguments, context)
    prepare_workers(whole_arguments["num_workers"])
    weights = weights_hash(problem.upstream)
    if context.protocol == "cached":
        _use_features(problem, weights, features, whole_arguments["num_workers"], context)
    fingerprint = _fingerprint(recipe, splits, weights, features, context)
    clear_work_of_others(target_dir, {**fingerprint, "arguments": whole_arguments})
    versions = fingerprint["versions"]
    problem.checkpoints = HeadCheckpoints(target_dir / "train", target_dir / "checkpoints")
    problem.results = []
    problem.layer_weights = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with plain_reader_errors(), naming(target_dir), measuring("head"):
            problem.run(target_dir=str(target_dir), cache_dir=str(target_dir / "cache"), **whole_arguments)
    tested = dict(zip(scored, problem.results, strict=True))
    metrics = {name: values for name, (values, _) in tested.items()}
    settings = {
        "recipe": ".".join(recipe),
        **{f"{name}_version": version for name, version in versions.items()},
        **{f"num_{name}_utterances": len(frame) for name, frame in splits.items()},
        **{f"{name}_recipe_metrics": values for name, values in metrics.items()},
        "loss": {name: values["loss"] for name, values in metrics.items() if "loss" in values},
        **({"layer_weights": problem.layer_weights} if problem.layer_weights else {}),
        "protocol": context.protocol,
        **(features.settings() if context.protocol == "cached" else {}),
        "num_threads": torch.get_num_threads(),
        "arguments": whole_arguments,
    }
    predictions = [
        row
        for name, (values, results) in tested.items()
        for row in problem.prediction_rows(name, results, values, counts)
    ]
    return RecipeResult(predictions=predictions, settings=settings, metrics=metrics)


def train_together(
    recipe: tuple[str, str],
    splits: Splits,
    upstream: Upstream,
    heads: Sequence[HeadToTrain],
    features: FeatureChoice,
) -> None:
    """Train heads that differ in learning rate and seed at once, and leave them for `run_recipe`.

    For each of them, `run_recipe` with the same arguments then finds a finished training, and only scores it. It trains
    the head itself if this function does nothing, because the features need too much memory or the recipe has other
    heads. After an interruption, the same call resumes, also with other heads among them.

    Args:
        recipe: module and class in s3prl.
        splits: the corpus.
        upstream: moved to the contexts' device, and left in eval mode.
        heads: all with the protocol ``cached`` and the same arguments except learning rates and seeds. Nobody else
            trains them meanwhile.
        features: time means.

    Raises:
        UserError: as `run_recipe`.
    """
    context = heads[0].context
    num_utterances = len(splits["train"]) + len(splits["dev"])
    if recipe[1] not in STACKABLE or not fits_in_memory(upstream, num_utterances, context.device):
        return
    problem = bridged_recipe(*recipe, TogetherRecipe)()
    problem.upstream = cast(nn.Module, upstream).to(context.device).eval()
    problem.splits = splits
    problem.scored = ()
    weights = weights_hash(problem.upstream)
    fingerprint = _fingerprint(recipe, splits, weights, features, context)
    problem.heads = []
    for head in heads:
        arguments = run_arguments(problem.default_config(), head.arguments, head.context)
        target_dir = head.workdir / "s3prl"
        clear_work_of_others(target_dir, {**fingerprint, "arguments": arguments})
        one = HeadInTraining(arguments, HeadCheckpoints(target_dir / "train", target_dir / "checkpoints"))
        if one.checkpoints.newest_step() < one.total_steps:
            problem.heads.append(one)
    if not problem.heads:
        return
    first = problem.heads[0]
    prepare_workers(first.arguments["num_workers"])
    _use_features(problem, weights, features, first.arguments["num_workers"], context)
    target_dir = first.checkpoints.train_dir.parent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with plain_reader_errors(), naming(target_dir), measuring("head"):
            problem.run(target_dir=str(target_dir), cache_dir=str(target_dir / "cache"), **first.arguments)


def _fingerprint(
    recipe: tuple[str, str], splits: Splits, weights: str, features: FeatureChoice, context: Context
) -> dict[str, Any]:
    """Return everything that a training depends on, except its arguments."""
    return {
        "recipe": recipe,
        "upstream": weights,
        "protocol": context.protocol,
        **({"precision": features.precision} if features.precision != "fp32" else {}),
        "data": {name: data_sha256(frame) for name, frame in splits.items()},
        "versions": {name: importlib.metadata.version(name) for name in ("s3prl", "torch", "torchaudio")},
    }


def _use_features(problem: Any, weights: str, features: FeatureChoice, num_workers: int, context: Context) -> None:
    """Let a recipe take features of whole, unpadded utterances."""
    upstream = FrozenUpstream(problem.upstream)
    if features.is_stored:
        problem.features = cached_features(
            upstream, weights, features.kind, context, precision=features.precision, num_workers=num_workers
        )
        return
    reason = "faster than a disk" if features.frame_cache == "auto" else "as set"
    logger.info(
        "features: frames are computed at every step and not stored (frame_cache=%s on %s, %s)",
        features.frame_cache,
        context.device,
        reason,
    )
    problem.hidden_states = hidden_states_of(upstream, context.device, features.precision)


def run_arguments(defaults: Mapping[str, Any], changes: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Merge a recipe's defaults with the changes. Intervals are limited to the length of the training."""
    merged = OmegaConf.to_container(OmegaConf.merge(OmegaConf.create(dict(defaults)), dict(changes)))
    arguments = cast(dict[str, Any], merged)
    # Paths are passed separately. The bridge replaces the rest, or needs none of it (`save_model`).
    for name in ("target_dir", "cache_dir"):
        del arguments[name]
    arguments |= {"prepare_data": {}, "build_upstream": {}, "save_model": {}, "save_task": {}}
    arguments["device"] = context.device
    train = arguments["train"]
    train["seed"] = context.seed
    for interval in ("eval_step", "save_step", "log_step"):
        train[interval] = min(train[interval], train["total_steps"])
    # Seed 0 keeps s3prl's order of batches. s3prl adds the epoch to the seed; the large prime keeps seeds apart.
    arguments["build_batch_sampler"]["train"]["seed"] = _SAMPLER_SEED + 1_000_003 * context.seed
    return arguments
