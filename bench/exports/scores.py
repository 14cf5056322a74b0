"""The scores that a finished run holds for a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean, stdev

from bench import registry
from bench.leaderboard.notes import preset_name
from bench.leaderboard.run_leaderboard import primary_metrics
from bench.leaderboard.titles import in_order, score_title
from bench.store.records import Record
from bench.store.run_folder import RunFolder
from bench.upstream.readme import ShownScore

TEST = "test"


def run_of(model: Path) -> RunFolder | None:
    """Return the run that a model's folder belongs to, if it belongs to one."""
    models = model.resolve().parent
    run = RunFolder(models.parent)
    return run if models.name == "models" and run.config_path.is_file() else None


def shown_scores(records: Iterable[Record]) -> list[ShownScore]:
    """Average test scores over seeds, in the order of the leaderboard.

    Args:
        records: of one model.
    """
    by_task: dict[str, list[Record]] = {}
    for record in records:
        by_task.setdefault(record.cell.task, []).append(record)
    return [score for task in in_order(by_task) for score in _of_task(task, by_task[task])]


def _of_task(task: str, records: list[Record]) -> Iterator[ShownScore]:
    for metric in _metrics(task, records):
        by_setting: dict[tuple[str, str, str], list[float]] = {}
        for record in records:
            if metric in record.scores.get(TEST, {}):
                setting = record.data, preset_name(record.preset), record.protocol
                by_setting.setdefault(setting, []).append(record.scores[TEST][metric])
        for setting, values in by_setting.items():
            spread = stdev(values) if len(values) > 1 else None
            title = score_title(task, metric)
            yield ShownScore(task, metric, title, fmean(values), spread, len(values), *setting)


def _metrics(task: str, records: list[Record]) -> list[str]:
    """Return the metrics of SUPERB's leaderboard, or all of a task whose plug-in is not installed."""
    if task in registry.names("bench.tasks"):
        return [metric.name for metric in primary_metrics([task])[task]]
    return list(dict.fromkeys(metric for record in records for metric in record.scores.get(TEST, {})))
