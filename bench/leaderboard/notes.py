"""Notes for every table of scores: sample sizes, and a warning if the scores are meaningless."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from bench import registry
from bench.config.data import embedded
from bench.leaderboard.collate import MEANINGLESS, SEEDS, SMOKE, UTTERANCES
from bench.leaderboard.titles import in_order

SMOKE_NOTE = f"Preset {SMOKE} only checks that everything runs: {MEANINGLESS}."
WORD_ERRORS = "_wer"
"""End of the columns of word error rates."""
ERROR_RATE_NOTE = (
    "WER and CER follow s3prl: text is split at every single space, so a run of spaces counts as empty words. jiwer's "
    "default ignores runs of spaces."
)


class _Range(NamedTuple):
    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"


def preset_name(preset: str) -> str:
    """Name a preset in a heading or a figure, with a warning if its scores are meaningless."""
    return f"{preset} ({MEANINGLESS})" if preset == SMOKE else preset


def table_notes(tables: Sequence[pd.DataFrame], split: str) -> list[str]:
    """Write the notes for tables of scores.

    Args:
        tables: leaderboards whose rows are shown together.
        split: of the scores.
    """
    is_smoke = any((table["preset"] == SMOKE).any() for table in tables if not table.empty)
    has_error_rates = any(str(name).endswith(WORD_ERRORS) for table in tables for name in table)
    return [
        *([SMOKE_NOTE] if is_smoke else []),
        *_other_corpora_versions(tables),
        *_sample_sizes(tables, split),
        *([ERROR_RATE_NOTE] if has_error_rates else []),
    ]


def _other_corpora_versions(tables: Sequence[pd.DataFrame]) -> list[str]:
    """Mark scores on embedded corpora of another version than this release makes."""
    found = sorted({str(data) for data in _values(tables, "data")})
    notes = []
    for name in registry.names("bench.corpora"):
        here = embedded(name).data().version.partition("-")[0]
        versions = (re.fullmatch(rf"{re.escape(name)}-(\d+)-seed.*", data) for data in found)
        notes += [
            f"Scores on version {there[1]} of the embedded corpora ({there[0]}) do not compare with version {here}, "
            "which this release makes."
            for there in versions
            if there and there[1] != here
        ]
    return notes


def _sample_sizes(tables: Sequence[pd.DataFrame], split: str) -> list[str]:
    names = [str(name) for table in tables for name in table]
    tasks = in_order(name.removesuffix(f"_{SEEDS}") for name in names if name.endswith(f"_{SEEDS}"))
    told = []
    for task in tasks:
        seeds = _range(_values(tables, f"{task}_{SEEDS}"))
        utterances = _range(_values(tables, f"{task}_{UTTERANCES}"))
        if seeds is not None:
            plural = "seed" if seeds.high == 1 else "seeds"
            told.append(f"{task} {utterances or 'an unknown number'} ({seeds} {plural})")
    return [f"Utterances of the {split} split: {', '.join(told)}."] if told else []


def _values(tables: Iterable[pd.DataFrame], name: str) -> list[Any]:
    return [value for table in tables if name in table for value in table[name].dropna()]


def _range(values: Sequence[Any]) -> _Range | None:
    return _Range(int(min(values)), int(max(values))) if values else None
