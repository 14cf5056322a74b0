"""Whether a record's scores are SUPERB's: its corpora, its recipe, its protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bench.store.records import Record


class Standard(NamedTuple):
    """What the recipe of a task is trained and tested with."""

    total_steps: int
    """Updates of the head."""
    num_test_utterances: int
    num_train_utterances: int | None
    """None where the recipe cuts or splits them."""


STANDARDS: Mapping[str, Standard] = {
    "asr": Standard(200_000, 2_620, 28_539),
    "pr": Standard(100_000, 2_620, 28_539),
    "ks": Standard(200_000, 3_081, None),
    "sid": Standard(200_000, 8_251, 138_361),
    "ic": Standard(200_000, 3_793, 23_132),
    "sf": Standard(200_000, 2_800, 104_672),
}
"""Of LibriSpeech (train-clean-100, test-clean), Speech Commands v0.01, VoxCeleb1, Fluent Speech Commands and SNIPS.

Source: updates: s3prl 0.4.18, `default_config` of the tasks' recipes; corpora: Panayotov et al. 2015, table 1;
iden_split.txt of VoxCeleb1; Lugosch et al. 2019, table 1; 13,084 requests by 8 speakers and 700 by 4 (Audio SNIPS)."""

ER_STEPS = 30_000
ER_TEST_UTTERANCES = {"0": 1_085, "1": 1_023, "2": 1_151, "3": 1_031, "4": 1_241}
"""By fold: IEMOCAP's five sessions, 5,531 utterances of four emotions."""


def deviations(record: Record) -> list[str]:
    """Say in what a record differs from SUPERB's own setting; a different learning rate is none.

    Of tasks of other packages only preset and protocol are known.

    Returns:
        Reasons, each a few words; empty where its scores stand beside the public leaderboard's.
    """
    return list(_deviations(record))


def _deviations(record: Record) -> Iterator[str]:
    task, settings = record.cell.task, record.settings
    if record.preset != "paper":
        yield f"preset {record.preset}"
    if record.protocol != "s3prl":
        yield f"protocol {record.protocol}"
    if task == "er":
        yield from _er_deviations(settings)
    elif task in STANDARDS:
        yield from _differences(STANDARDS[task], settings, task)


def _er_deviations(settings: Mapping[str, Any]) -> Iterator[str]:
    folds = {str(fold): values for fold, values in _mapping(settings.get("folds")).items()}
    if folds.keys() != ER_TEST_UTTERANCES.keys():
        yield f"er: {len(folds)} of 5 folds"
    for fold, values in folds.items():
        expected = Standard(ER_STEPS, ER_TEST_UTTERANCES.get(fold, 0), None)
        yield from _differences(expected, _mapping(values), f"er fold {fold}")


def _differences(standard: Standard, settings: Mapping[str, Any], where: str) -> Iterator[str]:
    steps = _mapping(_mapping(settings.get("arguments")).get("train")).get("total_steps")
    if steps != standard.total_steps:
        yield f"{where}: {_count(steps)} updates of {standard.total_steps:,}"
    for split, expected in (("train", standard.num_train_utterances), ("test", standard.num_test_utterances)):
        found = settings.get(f"num_{split}_utterances")
        if expected is not None and found != expected:
            yield f"{where}: {_count(found)} {split} utterances, not {expected:,}"


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one for what somebody else has put in its place."""
    return value if isinstance(value, Mapping) else {}


def _count(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else "an unknown number of"
