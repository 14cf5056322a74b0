"""Runs on disk for tests of tables, and their groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from bench.leaderboard.collate import mean_scores, write_leaderboard
from bench.leaderboard.comparable import read_board, read_boards
from bench.leaderboard.tidy import tidy_scores
from bench.reports.tables.leaderboards import BEST, Group, Mark, report_groups
from bench.store.latency import LatencyRecord, Machine, Spread, Timing
from bench.store.records import Cell, ModelCard, Record, RecordStore

HOSTILE = [
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1+2",
    "@SUM(A1)",
    "\t=1",
    "a_b % & # $x$ {y} ~ ^ \\input{/etc/passwd}",
    "a\nb | c",
    "[x](javascript:alert(1)) ![i](http://e.vil) *b* `c` <a@b.c> https://e.vil &lt;",
    "Müller 中文 \u200b ﷽ ---",
    "\\\\ \\hline",
    "_x_ __y__ ~~z~~",
]


Write = Callable[..., Path]


def row_writer(root: Path) -> Write:
    """Return what writes a run's folder: model to task to metric to score, one seed or several."""

    def write(
        rows: Mapping[str, Mapping[str, Mapping[str, float]]],
        name: str = "run",
        seeds: int = 1,
        steps: int = 10,
        teacher: str = "mini-hubert",
        bytes_a_weight: int = 4,
        sparsity: float | None = None,
        **changes: Any,
    ) -> Path:
        folder = root / name
        tasks = {task for scores in rows.values() for task in scores}
        references = {row: row for row in rows if row in ("mini-hubert", "fbank")}
        config = {
            "teacher": teacher,
            "data": {"tasks": {task: {"layout": "manifest", "manifest": "mine.csv"} for task in sorted(tasks)}},
            "preset": "mini",
            "models": {row: {"reference": references.get(row)} for row in rows},
            "tasks": {task: {"total_steps": steps} for task in sorted(tasks)},
            "seeds": list(range(seeds)),
        }
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        for row, scores in rows.items():
            is_own = row in references
            params = 2_000_000 if is_own else 500_000
            card = ModelCard(
                compressor="none" if is_own else "dphubert",
                teacher=None if is_own else teacher,
                sparsity=None if is_own else sparsity,
                params=params,
                size_bytes=params * (4 if is_own else bytes_a_weight),
                macs=49_000_000_000,
            )
            for task, values in scores.items():
                for seed in range(seeds):
                    record = Record(
                        cell=Cell(model=row, task=task, seed=seed),
                        card=card,
                        scores={"test": {metric: value + 0.01 * seed for metric, value in values.items()}},
                        settings={},
                        provenance={},
                        **({"preset": "mini", "data": "mini-1", "protocol": "cached"} | changes),
                    )
                    RecordStore(folder).write(record, [])
        write_leaderboard(read_board(folder).table, folder)
        return folder

    return write


ROWS = {
    "mini-hubert": {"ks": {"accuracy": 0.9}, "asr": {"wer": 0.3, "cer": 0.1}},
    "a": {"ks": {"accuracy": 0.8}, "asr": {"wer": 0.4, "cer": 0.2}},
    "b": {"ks": {"accuracy": 0.7}, "asr": {"wer": 0.35, "cer": 0.2}},
}


def groups_of(*folders: Path, **options: Any) -> list[Group]:
    return report_groups(read_boards(folders), **options)


def best(group: Group, key: str, mark: Mark = BEST) -> set[int]:
    """Return the rows that stand out in a column."""
    return {position for (position, name), found in group.marks.items() if (name, found) == (key, mark)}


def means(records: Sequence[Record], split: str = "test") -> pd.DataFrame:
    return mean_scores(tidy_scores(records), split)


def latency_of(model: str, cpu: str) -> LatencyRecord:
    spread = Spread(median=0.0123, low=0.01, high=0.02, repeats=3)
    return LatencyRecord(
        model=model,
        row=model,
        measured="now",
        machine=Machine(cpu=cpu, num_cores=2, torch="2", system="Linux"),
        lengths_samples={"short": (1,)},
        cpu=Timing(device="cpu", num_threads=1, rtf=spread, latency_ms={"short": spread}, first_call_ms=1.0),
    )


def with_names(group: Group, names: list[str]) -> Group:
    table = pd.concat([group.table.iloc[:1]] * len(names), ignore_index=True).assign(model=names, teacher=names)
    return Group(names[0], table, group.columns, tuple(names))
