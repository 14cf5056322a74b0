"""The sizes of the real corpora."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import pandas as pd

from tasks.corpora.quesst14 import Quesst14Data
from tasks.corpora.snips import SNIPSData
from tasks.corpora.voxceleb1_trials import VoxCeleb1TrialsData

# Fields that select a part of the corpus. If they differ from the defaults, the real corpus's counts do not apply.
_CHOICES: dict[Any, tuple[str, ...]] = {
    SNIPSData: ("train_speakers", "dev_speakers", "test_speakers"),
    VoxCeleb1TrialsData: ("num_dev_speakers",),
    Quesst14Data: ("language",),
}
# Layouts whose corpus another layout of the same name splits otherwise.
_CORPORA: dict[Any, str] = {VoxCeleb1TrialsData: "voxceleb1_trials"}


class KnownSize(NamedTuple):
    """The size of a split of the real corpus."""

    num_utterances: int
    hours: float | None


def known_size(entry: Any, split: str, table: pd.DataFrame) -> KnownSize | None:
    """Return the size of a split of the real corpus.

    Args:
        entry: the task's entry in the data file, one of its layouts.
        split: the split's name.
        table: the split as read; an optional column ``corpus_split`` names the corpus's own parts.

    Returns:
        The size, or None if it is unknown or the entry selects other parts.
    """
    kind = type(entry)
    if any(getattr(entry, name) != kind.model_fields[name].default for name in _CHOICES.get(kind, ())):
        return None
    parts = set(table["corpus_split"]) if "corpus_split" in table else {split}
    known = _table()
    chosen = known[(known["layout"] == _CORPORA.get(kind, getattr(entry, "layout", ""))) & known["part"].isin(parts)]
    if len(chosen) < len(parts):
        return None
    hours = None if chosen["hours"].isna().any() else float(chosen["hours"].sum())
    return KnownSize(int(chosen["num_utterances"].sum()), hours)


@cache
def _table() -> pd.DataFrame:
    with files("tasks.data_check").joinpath("known_corpora.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
