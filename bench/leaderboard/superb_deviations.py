"""Whether a record's scores compare with SUPERB's leaderboard: same corpora, recipe and protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench import registry
from bench.contracts import DeclaresSuperbStandard, SuperbStandard
from bench.store.records import Record


def deviations(record: Record) -> list[str]:
    """List how a record's setting differs from SUPERB's. The learning rate may differ.

    A task that declares no standard (see `bench.contracts.SuperbStandard`) can deviate only in preset and protocol.

    Returns:
        Reasons of a few words each; empty if the scores compare with the public leaderboard's.
    """
    return list(_deviations(record))


def _deviations(record: Record) -> Iterator[str]:
    if record.preset != "paper":
        yield f"preset {record.preset}"
    if record.protocol != "s3prl":
        yield f"protocol {record.protocol}"
    task = record.cell.task
    standard = _standard(task)
    if standard is None:
        return
    if isinstance(standard.num_test_utterances, Mapping):
        yield from _fold_deviations(standard, standard.num_test_utterances, record.settings, task)
    else:
        yield from _differences(standard, standard.num_test_utterances, record.settings, task)


def _standard(task: str) -> SuperbStandard | None:
    if task not in registry.names("bench.tasks"):
        return None
    plugin = registry.load("bench.tasks", task)
    return plugin.superb_standard if isinstance(plugin, DeclaresSuperbStandard) else None


def _fold_deviations(
    standard: SuperbStandard, num_test_utterances: Mapping[str, int], settings: Mapping[str, Any], task: str
) -> Iterator[str]:
    folds = {str(fold): values for fold, values in _mapping(settings.get("folds")).items()}
    if folds.keys() != num_test_utterances.keys():
        yield f"{task}: {len(folds)} of {len(num_test_utterances)} folds"
    for fold, values in folds.items():
        expected = num_test_utterances.get(fold, 0)
        yield from _differences(standard, expected, _mapping(values), f"{task} fold {fold}")


def _differences(
    standard: SuperbStandard, num_test_utterances: int, settings: Mapping[str, Any], where: str
) -> Iterator[str]:
    steps = _mapping(_mapping(settings.get("arguments")).get("train")).get("total_steps")
    if standard.total_steps and steps != standard.total_steps:
        yield f"{where}: {_count(steps)} updates of {standard.total_steps:,}"
    for split, what, expected in (
        ("train", "train utterances", standard.num_train_utterances),
        ("documents", "documents", standard.num_documents),
        ("test", "test utterances", num_test_utterances),
    ):
        found = settings.get(f"num_{split}_utterances")
        if expected is not None and found != expected:
            yield f"{where}: {_count(found)} {what}, not {expected:,}"


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping unchanged, and an empty one for anything else that a record's settings may hold."""
    return value if isinstance(value, Mapping) else {}


def _count(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else "an unknown number of"
