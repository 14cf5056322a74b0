"""Checks of labels that all corpora share: one spelling each, and all of them in the training split."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pandas as pd

from bench.errors import UserError
from bench.text import shortened
from tasks.corpora.splits import SPLITS


def check_classes(splits: Mapping[str, pd.DataFrame], column: str, place: Path, called: str | None = None) -> None:
    """Refuse classes that cannot be learned, see `check_labels`, and corpora with a single class.

    Args:
        splits: ``train``, ``dev`` and ``test``.
        column: holds the class of every utterance.
        place: where the corpus is.
        called: the users' name of the column, if it differs.
    """
    check_labels({split: set(table[column]) for split, table in splits.items()}, called or column, place)
    if len(set(splits["train"][column])) < 2:
        raise UserError(
            f"Expected at least two values of {called or column} in {place}. "
            f"Found {shortened(splits['train'][column].iloc[0])!r} only. Add training utterances of other values."
        )


def check_labels(labels: Mapping[str, Collection[str]], called: str, place: Path) -> None:
    """Refuse labels that differ only in case or surrounding space, and labels that are missing in train.

    Args:
        labels: all labels of ``train``, ``dev`` and ``test``.
        called: the users' name of a label.
        place: where the corpus is.

    Raises:
        UserError: the first faulty label.
    """
    _check_spelling((label for split in SPLITS for label in sorted(labels[split])), called, place)
    trained = set(labels["train"])
    for split in ("test", "dev"):
        if untrained := sorted(set(labels[split]) - trained):
            others = f" (and {len(untrained) - 1} others)" if len(untrained) > 1 else ""
            raise UserError(
                f"Expected every {called} of {split} in train too, in {place}. Found "
                f"{shortened(untrained[0])!r}{others} in "
                f"{split} and not in train. Add training utterances of it, or remove those of {split}."
            )


def _check_spelling(labels: Iterable[str], called: str, place: Path) -> None:
    spelled: dict[str, str] = {}
    for label in labels:
        other = spelled.setdefault(label.strip().casefold(), label)
        if other != label:
            raise UserError(
                f"Expected one spelling of every {called} in {place}. Found "
                f"{shortened(other)!r} and {shortened(label)!r}, which differ in "
                "case or surrounding space only. Spell them alike."
            )
