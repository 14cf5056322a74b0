"""``bench run``: compress, evaluate, collate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.cli.streams import print_line, say
from bench.text import shortened

if TYPE_CHECKING:
    from pathlib import Path

    from bench.config.run import RunConfig


def run(
    tasks: options.Tasks,
    compressor: Annotated[
        str,
        typer.Option(
            help="Compressors, comma-separated, or stacks of them such as dphubert+int8; ROW=COMPRESSOR names a row, "
            "for settings of its own (--set ROW.KEY=VALUE). 'none' is the teacher's row, which is always there."
        ),
    ] = "none",
    teacher: options.Teacher = options.DEFAULT_TEACHER,
    baseline: options.Baseline = None,
    from_: options.From = None,
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
    dry_run: options.DryRun = False,
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Compress a teacher, evaluate it and the results side by side, and collate a leaderboard.

    Run again, it finishes what is missing and repeats nothing.
    """
    from bench.cli.choices import head_shorthands, resolved_run, run_folder

    assignments = set_ or []
    config = resolved_run(
        compressors=compressor,
        teacher=teacher,
        start=from_,
        models=baseline or "",
        tasks=tasks,
        data=data,
        preset=preset,
        protocol=protocol,
        seeds=seeds,
        assignments=[*assignments, *head_shorthands(tasks, data, lr, folds)],
    )
    folder = run_folder(out, config, assignments, lr=lr, folds=folds)
    return execute(config, folder, device, split, cache_limit, dry_run=dry_run, as_json=json)


def execute(
    config: RunConfig,
    folder: Path,
    device: str,
    split: str,
    cache_limit: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Show the plan or carry it out; the exit code says whether all of it is done."""
    from bench.cli.choices import one_of
    from bench.cli.output import leaderboard_rows, print_json, print_rows
    from bench.report.comparable import board_notes, read_board
    from bench.report.notes import preset_name
    from bench.runner.checks import resolve_device
    from bench.runner.plan import join_run, plan
    from bench.runner.run import Run
    from bench.sizes import parse_size
    from bench.store.run_folder import RunFolder

    split = one_of(split, ("test", "dev"), "--split")
    cache_limit_bytes = None if cache_limit is None else parse_size(cache_limit, "--cache-limit")
    chosen_device = resolve_device(one_of(device, ("auto", "cpu", "cuda"), "--device"))
    if dry_run:
        join_run(RunFolder(folder), config)
        steps = [
            {"step": step.what, "subject": step.subject, "state": "done" if step.done else "to do"}
            for step in plan(RunFolder(folder), config)
        ]
        print_json(steps) if as_json else print_rows(steps, f"{folder} on {chosen_device}")
        return 0
    outcome = Run(config, folder, chosen_device, cache_limit_bytes).execute(split)
    if as_json:
        print_json(outcome.leaderboard.astype(object).where(outcome.leaderboard.notna(), None).to_dict("records"))
    elif not outcome.leaderboard.empty:
        title = f"{config.data.name}, preset {preset_name(config.preset)}, {split}"
        board = read_board(folder, split)
        print_rows(leaderboard_rows(outcome.leaderboard, board.failed), title)
        for note in board_notes(board):
            print_line(note)
        print_line(outcome.path)
    if outcome.failures:
        failed = shortened(", ".join(outcome.failures), 300)
        say(f"failed: {failed}; the reasons stand above. Run again to retry.")
    return 1 if outcome.failures else 0
