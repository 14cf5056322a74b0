"""Trains and scores a head at the configured learning rate, or at the best one of a grid on dev."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import pandas as pd

from bench.contracts import Context, Evaluation, Metric, Upstream
from bench.errors import UserError
from bench.files.sealed import read_sealed_json, write_sealed_json
from bench.store.claims import claimed
from tasks.heads.config import HeadConfig
from tasks.heads.work import SEARCH_SEED

logger = logging.getLogger(__name__)

Config = TypeVar("Config", bound=HeadConfig)

TrainHead = Callable[[Config, Path, Context, Sequence[str]], Evaluation]
"""Trains a head in a folder, and scores it on the given splits (``dev``, ``test``). The returned settings hold ``loss``
by split."""


@dataclass(frozen=True)
class Head(Generic[Config]):
    """A head to train at a given learning rate: the arguments of `TrainHead`, except what to score."""

    config: Config
    workdir: Path
    context: Context


TrainTogether = Callable[[Sequence[Head[Config]]], None]
"""Trains heads at once that differ in learning rate and seed, so that `TrainHead` only scores them."""


def evaluate_head(
    train: TrainHead[Config],
    train_together: TrainTogether[Config],
    config: Config,
    metric: Metric,
    upstream: Upstream,
    corpus: Mapping[str, pd.DataFrame],
    workdir: Path,
    context: Context,
) -> Evaluation:
    """Train and score a head at the configured learning rate, or at the best one of the grid on dev.

    The search runs once for all seeds of a model and task, never touches test, and resumes after an interruption. Where
    heads are trained together, the first cell trains those of all seeds of the run, and the other cells score theirs.

    Args:
        train: trains and scores one head.
        train_together: trains several heads.
        config: settings of the head.
        metric: decides between learning rates.
        upstream: the frozen model.
        corpus: all tables of the corpus.
        workdir: folder of this head.
        context: seed, device, protocol and the folder shared by all seeds.

    Returns:
        The result of ``train``. Its settings also hold ``learning_rate`` and, after a search,
        ``learning_rate_search`` with the score of every candidate (null if its loss is not finite).

    Raises:
        UserError: no candidate has a finite loss.
    """
    scored = ("dev", "test")
    if config.learning_rate != "auto" and not config.trains_together(context):
        evaluation = train(config, workdir, context, scored)
        return _with_settings(evaluation, learning_rate=config.learning_rate)
    folder = (context.shared_workdir or workdir) / "learning_rates" / _identity(config, upstream, corpus, context)
    search: dict[str, object] = {}
    # Other cells of the same model and task wait, and then find their heads trained.
    with claimed(folder / "learning rates.lock", wait=True):
        if config.learning_rate == "auto":
            rate, scores = _searched(train, train_together, config, metric, folder, context)
            search = {"learning_rate_search": _about(scores, metric)}
            places = {SEARCH_SEED: folder / str(rate)}
        else:
            rate, places = config.learning_rate, {}
        chosen = config.model_copy(update={"learning_rate": rate})
        places = {**context.seed_workdirs, context.seed: workdir, **places}
        if config.trains_together(context):
            seeds = sorted({context.seed, *context.seed_workdirs})
            train_together([Head(chosen, places[seed], dataclasses.replace(context, seed=seed)) for seed in seeds])
    evaluation = train(chosen, places[context.seed], context, scored)
    return _with_settings(evaluation, learning_rate=rate, **search)


def _searched(
    train: TrainHead[Config],
    train_together: TrainTogether[Config],
    config: Config,
    metric: Metric,
    folder: Path,
    context: Context,
) -> tuple[float, dict[float, float | None]]:
    """Return the best learning rate of the grid, and the score of every rate."""
    at_search = dataclasses.replace(context, seed=SEARCH_SEED)
    new = [rate for rate in sorted(config.learning_rates) if read_sealed_json(folder / f"{rate}.json") is None]
    if new and config.trains_together(context):
        candidates = [config.model_copy(update={"learning_rate": rate}) for rate in new]
        train_together([Head(one, folder / str(one.learning_rate), at_search) for one in candidates])
    scores = _search(train, config, metric, folder, at_search)
    rate = _best(scores, metric)
    if rate is None:
        raise UserError(
            f"Expected a learning rate that trains. The loss is not finite at {', '.join(map(str, scores))}. "
            "Give others with --set tasks.<name>.learning_rates=[...]."
        )
    if len(scores) > 1 and rate in (min(scores), max(scores)):
        logger.warning("learning rate: %g is at the edge of the grid; a wider grid may do better", rate)
    return rate, scores


def _search(
    train: TrainHead[Config], config: Config, metric: Metric, folder: Path, context: Context
) -> dict[float, float | None]:
    """Score every candidate on dev. Store all scores, and the training of the best candidate so far."""
    scores: dict[float, float | None] = {}
    for rate in sorted(config.learning_rates):
        result = folder / f"{rate}.json"
        kept = read_sealed_json(result)
        if kept is None:
            candidate = config.model_copy(update={"learning_rate": rate})
            evaluation = train(candidate, folder / str(rate), context, ("dev",))
            # Speaker verification has no loss on speakers that it did not train on, except NaN for a diverged head.
            is_finite = math.isfinite(evaluation.settings["loss"].get("dev", 0.0))
            kept = {metric.name: evaluation.scores["dev"][metric.name] if is_finite else None}
            write_sealed_json(result, kept)
        scores[rate] = kept[metric.name]
        outcome = "no finite loss" if scores[rate] is None else f"{metric.name} {scores[rate]:.4f} on dev"
        logger.info("learning rate %g: %s", rate, outcome)
        best = _best(scores, metric)
        for loser in scores.keys() - {best}:
            shutil.rmtree(folder / str(loser), ignore_errors=True)
    return scores


def _best(scores: Mapping[float, float | None], metric: Metric) -> float | None:
    """Return the candidate with the best score, the smallest one on a tie, or None if no loss is finite."""
    finite = {rate: score for rate, score in sorted(scores.items()) if score is not None}
    if not finite:
        return None
    return (max if metric.higher_is_better else min)(finite, key=lambda rate: finite[rate])


def _about(scores: Mapping[float, float | None], metric: Metric) -> dict[str, object]:
    """Describe a search for the settings of a result."""
    return {
        "split": "dev",
        "metric": metric.name,
        "seed": SEARCH_SEED,
        "scores": {str(candidate): score for candidate, score in scores.items()},
    }


def _identity(config: HeadConfig, upstream: Upstream, corpus: Mapping[str, pd.DataFrame], context: Context) -> str:
    """Hash everything the candidates' scores depend on, except the grid itself."""
    from bench.upstream.checkpoint import weights_hash
    from tasks.bridge.interrupted_work import data_sha256

    identity = {
        "config": config.model_dump(mode="json", exclude={"learning_rate", "learning_rates"}),
        "upstream": weights_hash(upstream),  # type: ignore[arg-type]
        "data": {name: data_sha256(table) for name, table in corpus.items()},
        "protocol": context.protocol,
        "device": context.device,
        "versions": {name: importlib.metadata.version(name) for name in ("s3prl", "torch", "torchaudio")},
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _with_settings(evaluation: Evaluation, **settings: object) -> Evaluation:
    return dataclasses.replace(evaluation, settings={**settings, **evaluation.settings})
