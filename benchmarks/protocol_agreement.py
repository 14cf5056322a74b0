"""Measure whether the protocols ``cached`` and ``s3prl`` agree, on each task with the same seeds.

Usage: ``python benchmarks/protocol_agreement.py --data FILE.yaml --out FILE.csv``. Trainings are shorter and data
smaller than those of the preset ``mini``: only the difference matters. A second call adds missing rows to the CSV. This
script produced the tables in docs/experiments.md.
"""

from __future__ import annotations

import csv
import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any, get_args

import typer
from rich.console import Console

from bench import registry
from bench.config.data import describe_data, tasks_with_data
from bench.contracts import Context, FeatureProtocol
from bench.upstream import load_upstream

COLUMNS = ("data", "upstream", "task", "metric", "seed", "protocol", "score", "num_test_utterances", "cpu_s")

TRAININGS: dict[str, dict[str, Any]] = {
    "ks": {"total_steps": 80, "batch_size": 16},
    "sid": {"total_steps": 80, "batch_size": 8},
    "er": {"total_steps": 80, "batch_size": 8, "folds": (0,)},
    "ic": {"total_steps": 100, "batch_size": 8},
    "asr": {"total_steps": 100, "batch_size": 4},
    "sf": {"total_steps": 100, "batch_size": 4},
}
"""Default differences from the preset ``mini``."""


def main(
    data: Annotated[str, typer.Option(help="YAML file of the corpora.")],
    out: Annotated[Path, typer.Option(help="CSV file of the scores; what it has is not measured again.")],
    tasks: Annotated[str, typer.Option(help="Which tasks, separated by commas.")] = "",
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0,1,2",
    upstream: Annotated[str, typer.Option(help="A model reference.")] = "random:mini-hubert",
    max_train_utterances: Annotated[int, typer.Option(help="The shortest of each class.")] = 240,
    max_eval_utterances: Annotated[int, typer.Option(help="The same of dev, and of test.")] = 80,
    total_steps: Annotated[int | None, typer.Option(help="Of every training; 80 or 100 by default.")] = None,
) -> None:
    """Score the tasks by both protocols, and print the differences as a Markdown table."""
    rows = _read(out)
    chosen = tasks.split(",") if tasks else tasks_with_data(data)
    limits = {"max_train_utterances": max_train_utterances, "max_eval_utterances": max_eval_utterances}
    limits |= {"total_steps": total_steps} if total_steps else {}
    for seed in map(int, seeds.split(",")):
        for task in chosen:
            for protocol in get_args(FeatureProtocol):
                key = {"data": data, "upstream": upstream, "task": task, "seed": str(seed), "protocol": protocol}
                if not any(key.items() <= row.items() for row in rows):
                    rows += [{**key, **one} for one in _scores(task, data, upstream, protocol, seed, limits)]
                    _write(out, rows)
    Console(width=200).print(
        "\n".join(_table([row for row in rows if row["data"] == data and row["upstream"] == upstream]))
    )


def _scores(
    name: str, data: str, upstream: str, protocol: FeatureProtocol, seed: int, limits: dict[str, int]
) -> Iterator[dict[str, str]]:
    task_class: Any = registry.load("bench.tasks", name)
    described = describe_data(data, {}, {name: task_class})
    entry = described.tasks[name]
    layout = task_class.layouts[entry.get("layout", next(iter(task_class.layouts)))]
    changes = {**TRAININGS[name], **limits}
    num_steps = changes["total_steps"]
    changes |= {"eval_interval_steps": num_steps // 2, "save_interval_steps": num_steps}
    task = task_class(task_class.presets["mini"].model_copy(update=changes))
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as workdir:
        context = Context(seed=seed, protocol=protocol)
        result = task.evaluate(load_upstream(upstream), layout(**entry), Path(workdir), context)
    num_utterances = sum(row["split"] == "test" for row in result.predictions)
    cpu_s = time.process_time() - begun
    for metric, score in {**result.scores["test"], "loss": _test_loss(result.settings)}.items():
        yield {
            "metric": metric,
            "score": f"{score:.6f}",
            "num_test_utterances": str(num_utterances),
            "cpu_s": f"{cpu_s:.1f}",
        }


def _test_loss(settings: Mapping[str, Any]) -> float:
    """Average a score over folds, if any."""
    folds = settings.get("folds", {0: settings}).values()
    return mean(fold["test_recipe_metrics"]["loss"] for fold in folds)


def _table(rows: list[dict[str, str]]) -> Iterator[str]:
    """Compare the protocols: mean and standard deviation over seeds, and the mean of the paired differences."""
    yield "| task | metric | test utterances | cached | s3prl | cached - s3prl, paired | standard error of a score |"
    yield "|---|---|---|---|---|---|---|"
    for task, metric in dict.fromkeys((row["task"], row["metric"]) for row in rows):
        here = [row for row in rows if (row["task"], row["metric"]) == (task, metric)]
        scale = 1 if metric == "loss" else 100
        by_protocol = {
            protocol: {row["seed"]: scale * float(row["score"]) for row in here if row["protocol"] == protocol}
            for protocol in get_args(FeatureProtocol)
        }
        cached, s3prl = by_protocol["cached"], by_protocol["s3prl"]
        differences = [cached[seed] - s3prl[seed] for seed in cached.keys() & s3prl.keys()]
        count = int(here[0]["num_test_utterances"])
        digits = 3 if metric == "loss" else 1
        spreads = [_spread(values, digits) for values in (cached.values(), s3prl.values(), differences)]
        rate = mean(s3prl.values()) / 100
        sampling = f"{100 * math.sqrt(rate * (1 - rate) / count):.1f}" if metric == "accuracy" else ""
        yield "| " + " | ".join([task, metric, str(count), *spreads, sampling]) + " |"


def _spread(values: Iterable[float], digits: int) -> str:
    values = list(values)
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def _read(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def _write(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    typer.run(main)
