"""One probe of one task: what it says of every test utterance, counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from difficulty import classification, recognition
from difficulty.features import (
    BANDS,
    FBANK,
    FBANK_MEAN_STD,
    RANDOM,
    compute_features,
    features_name,
    load,
    save,
    source_and_layer,
)
from difficulty.items import CLASSIFICATION, Fold, Item, folds, read_items
from difficulty.scoring import (
    LOWER_IS_BETTER,
    Counts,
    best_constant,
    correct,
    slot_errors,
    word_errors,
)
from tasks.mini.manifest import IDENTITY

CHANCE = "chance"
SUPERVISED = "supervised"
PROBES = (CHANCE, FBANK, FBANK_MEAN_STD, RANDOM, SUPERVISED)

NUM_CANDIDATES = 200
"""Training transcripts among which the best constant answer is looked for."""

TDNN_TRAINING = {
    "ks": classification.Training(num_epochs=40),
    "sid": classification.Training(num_epochs=24),
    "er": classification.Training(num_epochs=10),
    "ic": classification.Training(num_epochs=36),
}
FROZEN_TRAINING = recognition.Training(num_epochs=16)
SUPERVISED_TRAINING = recognition.Training(num_epochs=24)

Scored = Mapping[str, Counts]


def suits(task: str, probe: str) -> bool:
    """Say whether a task has a probe; a transcript has no mean and standard deviation."""
    return task in CLASSIFICATION or probe != FBANK_MEAN_STD


def source_of(probe: str) -> str | None:
    """Name the features that a probe sees: none, where it listens to nothing."""
    if probe == CHANCE:
        return None
    return BANDS if probe == SUPERVISED else source_and_layer(probe)[0]


def is_slow(task: str, probe: str) -> bool:
    """Say whether a probe takes minutes."""
    return probe == SUPERVISED or task not in CLASSIFICATION


def tested_items(items: Sequence[Item]) -> list[Item]:
    """List the test utterances, in the order in which `run_probe` counts them."""
    return [items[index] for fold in folds(items) for index in fold.test]


def write_features(data: Path, task: str, source: str, folder: Path) -> Path:
    """Compute one kind of features of a task's items in one thread, unless ``folder`` has them; say where they are."""
    torch.set_num_threads(1)
    audio_sha256 = json.loads((data / task / IDENTITY).read_text(encoding="utf-8"))["audio_sha256"]
    path = folder / f"{task}-{audio_sha256[:16]}-{features_name(source)}.pt"
    if not path.is_file():
        pooled = task in CLASSIFICATION
        save(compute_features(read_items(data, task), source, pooled=pooled), path)
    return path


def run_probe(data: Path, task: str, features_path: Path | None, probe: str, seed: int) -> Scored:
    """Run one probe, all folds of it, in one thread.

    Args:
        data: folder of the embedded corpora.
        task: one of `items.TASKS`.
        features_path: what `write_features` returned for this task and probe; None for `CHANCE`.
        probe: one of `PROBES`, a model reference, or one with `` layer <k>`` behind it.
        seed: of the probe.

    Returns:
        Counts by the name of the metric, over `tested_items`.
    """
    torch.set_num_threads(1)
    items = read_items(data, task)
    run = _classify if task in CLASSIFICATION else _transcribe
    features = load(features_path, source_and_layer(probe)[1]) if features_path else []
    return run(task, items, features, probe, seed)


def _classify(task: str, items: Sequence[Item], features: list[Tensor], probe: str, seed: int) -> Scored:
    classes = sorted({item.label for item in items})
    targets = torch.tensor([classes.index(item.label) for item in items])
    predictions: list[int] = []
    for fold in folds(items):
        if probe == CHANCE:
            # The most frequent class, or the first of several.
            common = Counter(targets[fold.train].tolist()).most_common(1)[0][0]
            predictions += [common] * len(fold.test)
        elif probe == SUPERVISED:
            predictions += classification.predict_from_bands(
                features, targets, fold, seed=seed, training=TDNN_TRAINING[task]
            )
        else:
            means = torch.stack(features)
            predictions += classification.predict_from_means(means, targets, fold, seed=seed)
    labels = [item.label for item in tested_items(items)]
    return correct(labels, [classes[prediction] for prediction in predictions])


def _transcribe(task: str, items: Sequence[Item], features: list[Tensor], probe: str, seed: int) -> Scored:
    tokenizer, tokens = recognition.tokenized(items)
    references = [tokenizer.decode(reference) for reference in tokens]
    count, choosing = (word_errors, "wer") if task == "asr" else (slot_errors, "slot_type_f1")
    [fold] = folds(items)
    tested = [references[index] for index in fold.test]
    if probe == CHANCE:
        return _constant(count, references, fold, tested)

    def dev_errors(said: list[str]) -> float:
        score = count([references[index] for index in fold.dev], said)[choosing].score()
        return score if choosing in LOWER_IS_BETTER else -score

    utterances = [bands[None] for bands in features] if probe == SUPERVISED else features
    front = recognition.TrainedFront if probe == SUPERVISED else recognition.WeightedSum
    said = recognition.transcribe(
        partial(front, utterances, fold.train),
        utterances,
        tokenizer,
        tokens,
        fold,
        dev_errors=dev_errors,
        seed=seed,
        training=SUPERVISED_TRAINING if probe == SUPERVISED else FROZEN_TRAINING,
    )
    return count(tested, said)


def _constant(
    count: Callable[[Sequence[str], Sequence[str]], Scored], references: Sequence[str], fold: Fold, tested: list[str]
) -> Scored:
    """Say the same to everything: for each metric, the training transcript that does best on dev."""
    candidates = [references[index] for index in fold.train[:: -(-len(fold.train) // NUM_CANDIDATES)]]
    dev = [references[index] for index in fold.dev]
    scored: dict[str, Counts] = {}
    for metric in count(tested, tested):
        constant = best_constant(candidates, metric, count, dev)
        scored[metric] = count(tested, [constant] * len(tested))[metric]
    return scored
