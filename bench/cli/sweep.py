"""``bench sweep``: several compressors at several sizes, each with several seeds."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli import options


def sweep(
    compressor: Annotated[
        str, typer.Option(help="Compressors or stacks, comma-separated, or ROW=COMPRESSOR; see `bench run --help`.")
    ],
    sparsity: Annotated[str, typer.Option(help="Shares of the teacher to remove, comma-separated, e.g. 0.5,0.75.")],
    tasks: options.Tasks,
    teacher: options.Teacher = options.DEFAULT_TEACHER,
    baseline: options.Baseline = None,
    data: options.DataChoice = "mini",
    preset: options.PresetName = "mini",
    protocol: options.Protocol = None,
    cache_limit: options.CacheLimit = None,
    seeds: Annotated[
        str, typer.Option(help="Seeds, comma-separated: each compresses, and trains the heads of what it made.")
    ] = "0,1,2",
    budget: Annotated[
        str,
        typer.Option(
            help="Training that all methods get as much of as the first: 'updates' or 'macs'; 'preset': each its own."
        ),
    ] = "updates",
    lr: options.LearningRate = None,
    folds: options.Folds = None,
    split: options.Split = "test",
    out: options.Out = None,
    set_: options.Sets = None,
    device: options.Device = "auto",
    devices: options.Devices = 1,
    executor: options.Executor = "inline",
    slurm: options.Slurm = None,
    dry_run: options.DryRun = False,
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Compare compressors at the same sizes: one row per compressor and sparsity, averaged over seeds.

    Each seed compresses its own models. Running the command again completes missing results and repeats nothing.
    """
    from bench.cli.choices import read_choice, resolved, run_folder
    from bench.cli.run import execute
    from bench.config.rows import stored_row
    from bench.config.run import without_rows
    from bench.runs.rows import rows_there
    from bench.store.run_folder import RunFolder

    assignments = set_ or []
    choice = read_choice(
        compressors=compressor,
        teacher=teacher,
        models=baseline,
        tasks=tasks,
        data=data,
        preset=preset,
        protocol=protocol,
        seeds=seeds,
        devices=devices,
        sparsities=sparsity,
        training_budget=budget,
        lr=lr,
        folds=folds,
        assignments=assignments,
    )
    folder = run_folder(out, without_rows(choice), assignments, lr=lr, folds=folds)
    earlier = [stored_row(name, source) for name, source in rows_there(RunFolder(folder)).items()]
    config = resolved(choice, earlier=earlier)
    return execute(config, folder, device, executor, slurm, split, cache_limit, dry_run=dry_run, as_json=json)
