"""Measures how hard the embedded corpora are: the table of docs/embedded.md.

Usage: ``python benchmarks/embedded_difficulty.py --data DIR``, where DIR was made by ``bench data synth DIR``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

# Probes run side by side, one a core; threads that wait for each other waste both. Before torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"

import pandas as pd
import typer
from difficulty.items import TASKS, read_items
from difficulty.probes import (
    CHANCE,
    PROBES,
    Scored,
    is_slow,
    run_probe,
    source_of,
    suits,
    tested_items,
    write_features,
)
from difficulty.tables import gap_rows, markdown, score_rows, score_table
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.errors import UserError

LONGEST_FIRST = ("er", "sf", "asr", "ic", "sid", "ks")
"""So that no core waits for the last."""

Probed = tuple[str, str, int]
"""Task, probe and seed."""


def main(
    data: Annotated[Path, typer.Option(help="What `bench data synth` made.")],
    tasks: Annotated[str, typer.Option(help="Which tasks, separated by commas.")] = ",".join(TASKS),
    probes: Annotated[str, typer.Option(help="Which probes, separated by commas.")] = ",".join(PROBES),
    upstreams: Annotated[
        str, typer.Option(help="Further upstreams: model references, or '<reference> layer 0' for one hidden state.")
    ] = "",
    seeds: Annotated[str, typer.Option(help="Seeds of the probes, separated by commas.")] = "0,1,2",
    slow_seeds: Annotated[str, typer.Option(help="Seeds of all that takes minutes: transcribing, supervised.")] = "0",
    out: Annotated[Path | None, typer.Option(help="CSV file for all figures.")] = None,
    features: Annotated[Path | None, typer.Option(help="Keep features there, for other runs.")] = None,
    processes: Annotated[int, typer.Option(help="Probes side by side.")] = os.cpu_count() or 1,
) -> None:
    """Measure chance, filter banks, random weights and a small supervised model on each embedded corpus."""
    chosen = _chosen(tasks, TASKS)
    further = [name for name in upstreams.split(",") if name]
    wanted = [*_chosen(probes, PROBES), *further]
    jobs = [
        (task, probe, int(seed))
        for task in sorted(chosen, key=LONGEST_FIRST.index)
        for probe in reversed(wanted)
        if suits(task, probe)
        for seed in ("0" if probe == CHANCE else slow_seeds if is_slow(task, probe) else seeds).split(",")
    ]
    with tempfile.TemporaryDirectory() as temporary:
        scored = run(data, jobs, features or Path(temporary), processes)
    scores: list[dict[str, object]] = []
    gaps: list[dict[str, object]] = []
    for task in chosen:
        by_probe: dict[str, list[Scored]] = defaultdict(list)
        for job in sorted(scored):
            if job[0] == task:
                by_probe[job[1]].append(scored[job])
        speakers = [item.speaker for item in tested_items(read_items(data, task))]
        scores += score_rows(task, by_probe, speakers)
        gaps += gap_rows(task, by_probe, speakers, further)
    if out:
        pd.DataFrame(scores).to_csv(out, index=False)
    typer.echo(markdown(score_table(scores, wanted)))
    typer.echo("\nDifferences in standard errors:\n")
    typer.echo(markdown(pd.DataFrame(gaps)))


def run(data: Path, jobs: Sequence[Probed], features: Path, processes: int) -> dict[Probed, Scored]:
    """Compute features and run the probes, in processes, with progress on standard error.

    Args:
        data: folder of the embedded corpora.
        jobs: what to run, in this order.
        features: folder where features are kept.
        processes: how many at a time.
    """
    features.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Processes that are forked after torch has run may hang.
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    with pool, Progress(*columns, console=Console(stderr=True)) as progress:

        def completed(futures: Iterable[Future[Any]], total: int, description: str) -> None:
            for future in progress.track(as_completed(futures), total=total, description=description):
                future.result()

        needed = dict.fromkeys((task, source) for task, probe, _ in jobs if (source := source_of(probe)))
        made = {need: pool.submit(write_features, data, *need, features) for need in needed}
        completed(made.values(), len(made), "Features")
        paths: dict[tuple[str, str | None], Path] = {need: future.result() for need, future in made.items()}
        probed = {
            job: pool.submit(run_probe, data, job[0], paths.get((job[0], source_of(job[1]))), *job[1:]) for job in jobs
        }
        completed(probed.values(), len(probed), "Probes")
    return {job: future.result() for job, future in probed.items()}


def _chosen(names: str, known: Sequence[str]) -> list[str]:
    """Take a list apart.

    Raises:
        UserError: an unknown name.
    """
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise UserError(f"Unknown name {unknown[0]!r}. Known: {', '.join(known)}.")
    return [name for name in known if name in names.split(",")]


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        sys.exit(f"error: {error}")
