"""Calls of ``bench data check``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Check = Callable[..., dict[str, Any]]


def only_remark(report: Mapping[str, Any], task: str) -> str:
    assert report[task]["usable"]
    assert len(report[task]["remarks"]) == 1, report[task]["remarks"]
    return str(report[task]["remarks"][0])


def plain(entry: Any) -> dict[str, Any]:
    values = dict(entry) if isinstance(entry, Mapping) else entry.model_dump(exclude_defaults=True)
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
