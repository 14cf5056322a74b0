"""The disk space of cached features, reported and checked before anything is computed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bench.cache_folder import require_writable, waveforms_root
from bench.config.run import RunConfig
from bench.contracts import Context, KeepsFeatures, SplitSize, Upstream
from bench.errors import UserError
from bench.runs.checks import SPARE_BYTES, free_bytes, task_settings
from bench.sizes import size_text
from bench.store.claims import CACHE_REMEDY, require_locks
from bench.store.records import Cell
from bench.upstream import AnyUpstream

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureNeed:
    """The space that one model's features take for one task."""

    model: str
    task: str
    folder: Path
    """Where they are stored; several tasks may share it."""
    num_bytes: int


TaskSizes = Mapping[str, Mapping[str, SplitSize]]
"""For every task, the size of each split."""


def feature_need(
    config: RunConfig,
    cell: Cell,
    upstream: AnyUpstream,
    weights: str,
    sizes: Mapping[str, SplitSize],
    context: Context,
) -> FeatureNeed | None:
    """Ask a task how much it will store of a model's features; None if it stores none.

    Args:
        config: of the run.
        cell: model and task.
        upstream: the model, or one of its shape.
        weights: hash of its weights.
        sizes: of the task's splits.
        context: of the cell.
    """
    settings = task_settings(config, cell.task)
    if not isinstance(settings, KeepsFeatures):
        return None
    folder, num_bytes = settings.feature_store(cast(Upstream, upstream), weights, sizes, context)
    return FeatureNeed(cell.model, cell.task, folder, num_bytes) if num_bytes else None


def _still_missing(needs: Sequence[FeatureNeed], missing: Mapping[Path, int]) -> str:
    models = dict.fromkeys(need.model for need in needs if missing[need.folder])
    total = size_text(sum(missing.values()))
    return f"{total} not computed yet, for {', '.join(models)}" if models else "all computed"


def check_room(needs: Sequence[FeatureNeed], limit_bytes: int | None) -> None:
    """Report the space of all features, and refuse what cannot fit.

    Args:
        needs: of all models and tasks.
        limit_bytes: the most that all cached features may hold together. None: limited by the disk only.

    Raises:
        UserError: the cache cannot be written, one model's features exceed the limit, or the missing features exceed
            the free disk space.
    """
    if not needs:
        return
    for folder in sorted({waveforms_root(), *(need.folder for need in needs)}):
        require_writable(folder)
        require_locks(folder.parent, CACHE_REMEDY)
    by_folder = {folder: [need for need in needs if need.folder == folder] for folder in {n.folder for n in needs}}
    sizes = {folder: sum(need.num_bytes for need in sharing) for folder, sharing in by_folder.items()}
    missing = {folder: max(0, size - _present_bytes(folder)) for folder, size in sizes.items()}
    by_task = {need.task: max(n.num_bytes for n in needs if n.task == need.task) for need in needs}
    logger.info(
        "features: up to %s per model (%s); %s",
        size_text(sum(by_task.values())),
        ", ".join(f"{task} {size_text(size)}" for task, size in by_task.items()),
        _still_missing(needs, missing),
    )
    largest = max(sizes, key=lambda folder: sizes[folder])
    if limit_bytes is not None and sizes[largest] > limit_bytes:
        tasks = ", ".join(dict.fromkeys(need.task for need in by_folder[largest]))
        raise UserError(
            f"Expected features of at most {size_text(limit_bytes)} (--cache-limit). Those of one model for {tasks} "
            f"need {size_text(sizes[largest])}. Raise the limit, or use --protocol s3prl, which keeps none."
        )
    # With a limit, features of other models are removed to make room.
    needed = sum(missing.values()) if limit_bytes is None else max(missing.values())
    free = free_bytes(largest) - SPARE_BYTES
    if needed > free:
        raise UserError(
            f"Expected {size_text(needed)} for features in {largest.parent}. Found {size_text(max(0, free))} free. "
            "Free some (`bench cache --prune`), set SUPERB_BENCH_CACHE to a larger disk, give a --cache-limit, or use "
            "--protocol s3prl, which keeps none."
        )


def _present_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
