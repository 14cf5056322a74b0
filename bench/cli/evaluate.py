"""``bench evaluate``: score models without compressing them."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli import options


def evaluate(
    model: Annotated[str, typer.Option(help="Model references, comma-separated; see `bench list teachers`.")],
    tasks: options.Tasks,
    data: options.DataChoice = "mini",
    preset: options.PresetName = "mini",
    protocol: options.Protocol = None,
    cache_limit: options.CacheLimit = None,
    seeds: options.Seeds = "0",
    lr: options.LearningRate = None,
    folds: options.Folds = None,
    split: options.Split = "test",
    out: options.Out = None,
    set_: options.Sets = None,
    device: options.Device = "auto",
    executor: options.Executor = "inline",
    slurm: options.Slurm = None,
    dry_run: options.DryRun = False,
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Evaluate models on downstream tasks, and collate a leaderboard."""
    from bench.cli.choices import resolved_run, run_folder
    from bench.cli.run import execute

    assignments = set_ or []
    config = resolved_run(
        models=model,
        tasks=tasks,
        data=data,
        preset=preset,
        protocol=protocol,
        seeds=seeds,
        lr=lr,
        folds=folds,
        assignments=assignments,
    )
    folder = run_folder(out, config, assignments, lr=lr, folds=folds)
    return execute(config, folder, device, executor, slurm, split, cache_limit, dry_run=dry_run, as_json=json)
