"""Rows of equal size: the parts of a table, within which rows compete for the best score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.leaderboard import published
from bench.leaderboard.published import PUBLISHED
from bench.reports.tables.columns import FLOAT32_BYTES

SAME_SIZE = 0.9
"""A model belongs to the part of a larger one if it takes at least this share of its bytes."""
SMALLER = 0.9
"""A compressed model competes for the best score only up to this share of its teacher's size. A supernet of the
teacher's size has compressed nothing.
"""


def sizes(table: pd.DataFrame) -> list[int]:
    """Number the part of every row: 0 for models that are not compressed, then from the largest models to the smallest.

    Compressed models without a known size come last.
    """
    rows = table.to_dict("records")
    found = [None if row["compressor"] == "none" else _stored_bytes(row) for row in rows]
    number, largest, numbers = 0, float("inf"), {}
    for size in sorted({size for size in found if size is not None}, reverse=True):
        if not number or size < SAME_SIZE * largest:
            number, largest = number + 1, size
        numbers[size] = number
    unknown = number + 1
    return [
        0 if row["compressor"] == "none" else unknown if size is None else numbers[size]
        for row, size in zip(rows, found, strict=True)
    ]


def by_size(table: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by their part; rows of one part keep their order."""
    order = pd.Series(sizes(table)).sort_values(kind="stable").index
    return table.iloc[order].reset_index(drop=True)


def is_smaller(row: Mapping[Any, Any]) -> bool:
    """Return whether compression left at most `SMALLER` of the teacher's bytes.

    Published rows are compared by parameters with HuBERT Base: all were made from models of its size. If a compressor
    reports no sparsity, the model counts as smaller.
    """
    if row["compressor"] == "none":
        return False
    if row["preset"] == PUBLISHED:
        return bool(row["params"] <= SMALLER * published.hubert_base_params())
    sparsity, size_bytes = row.get("sparsity"), row.get("size_bytes")
    if pd.isna(sparsity) or pd.isna(size_bytes):
        return True
    # 1 - sparsity is the share of the teacher's parameters that is left.
    return bool(size_bytes * (1 - sparsity) <= SMALLER * FLOAT32_BYTES * row["params"])


def _stored_bytes(row: Mapping[Any, Any]) -> float | None:
    """Return the bytes of the stored weights; of published models, those of their parameters in float32."""
    size_bytes, params = row.get("size_bytes"), row.get("params")
    if not pd.isna(size_bytes):
        return float(size_bytes)
    return None if pd.isna(params) else FLOAT32_BYTES * float(params)
