"""How large the real corpora are."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import pandas as pd

from tasks.corpora.snips import SNIPSData

# Fields that choose what is read; changed, the real corpus' counts say nothing.
_CHOICES = {SNIPSData: ("train_speakers", "dev_speakers", "test_speakers")}


class KnownSize(NamedTuple):
    """What the real corpus has of a split."""

    num_utterances: int
    hours: float | None


def known_size(entry: Any, split: str, table: pd.DataFrame) -> KnownSize | None:
    """Say how large a split of the real corpus is.

    Args:
        entry: of the task in the data file, one of its layouts.
        split: the split's name.
        table: what was read of it; a column ``corpus_split`` says which of the corpus' own parts these are.

    Returns:
        The size, or None where it is not known or other parts were chosen.
    """
    kind = type(entry)
    if any(getattr(entry, name) != kind.model_fields[name].default for name in _CHOICES.get(kind, ())):
        return None
    parts = set(table["corpus_split"]) if "corpus_split" in table else {split}
    known = _table()
    chosen = known[(known["layout"] == getattr(entry, "layout", "")) & known["part"].isin(parts)]
    if len(chosen) < len(parts):
        return None
    hours = None if chosen["hours"].isna().any() else float(chosen["hours"].sum())
    return KnownSize(int(chosen["num_utterances"].sum()), hours)


@cache
def _table() -> pd.DataFrame:
    with files("tasks.data_check").joinpath("known_corpora.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
