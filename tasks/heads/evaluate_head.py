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
from pathlib import Path
from typing import TypeVar

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


def evaluate_head(
    train: TrainHead[Config],
    config: Config,
    metric: Metric,
    upstream: Upstream,
    corpus: Mapping[str, pd.DataFrame],
    workdir: Path,
    context: Context,
) -> Evaluation:
    """Train and score a head at the configured learning rate, or at the best one of the grid on dev.

    The search runs once for all seeds of a model and task, never touches test, and resumes after an interruption.

    Args:
        train: trains and scores one head.
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
    if config.learning_rate != "auto":
        evaluation = train(config, workdir, context, scored)
        return _with_settings(evaluation, learning_rate=config.learning_rate)
    folder = (context.shared_workdir or workdir) / "learning_rates" / _identity(config, upstream, corpus, context)
    with claimed(folder / "learning rates.lock", wait=True):
        scores = _search(train, config, metric, folder, context)
    rate = _best(scores, metric)
    if rate is None:
        raise UserError(
            f"Expected a learning rate that trains. The loss is not finite at {', '.join(map(str, scores))}. "
            "Give others with --set tasks.<name>.learning_rates=[...]."
        )
    if len(scores) > 1 and rate in (min(scores), max(scores)):
        logger.warning("learning rate: %g is at the edge of the grid; a wider grid may do better", rate)
    place = folder / str(rate) if context.seed == SEARCH_SEED else workdir
    evaluation = train(config.model_copy(update={"learning_rate": rate}), place, context, scored)
    search = {
        "split": "dev",
        "metric": metric.name,
        "seed": SEARCH_SEED,
        "scores": {str(candidate): score for candidate, score in scores.items()},
    }
    return _with_settings(evaluation, learning_rate=rate, learning_rate_search=search)


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
            evaluation = train(candidate, folder / str(rate), dataclasses.replace(context, seed=SEARCH_SEED), ("dev",))
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
