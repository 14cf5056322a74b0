"""``bench run``: compress, evaluate, collate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from bench.cli import options
from bench.terminal.streams import print_line, say
from bench.text import shortened

if TYPE_CHECKING:
    from bench.config.run import RunConfig

ARGUMENTS = {"compressor": "compressors", "from_": "start", "baseline": "models"}
"""Parameter of the command to parameter of `bench.cli.choices.read_choice`, if the names differ."""


def run(
    context: typer.Context,
    tasks: options.TasksOrConfig = None,
    config: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Repeat the run with this config.yaml. Further options override it.",
        ),
    ] = None,
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
    devices: options.Devices = 1,
    executor: options.Executor = "inline",
    slurm: options.Slurm = None,
    dry_run: options.DryRun = False,
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Compress a teacher, evaluate it and the compressed models, and collate a leaderboard.

    Running the command again completes missing results and repeats nothing.
    """
    from bench.cli.choices import read_choice, resolved, run_folder
    from bench.cli.repeating import all_tasks, given_options, read_repeated, stored_choice
    from bench.errors import UserError
    from bench.terminal.choices import ALL_TASKS

    options: dict[str, Any] = {
        "compressors": compressor,
        "teacher": teacher,
        "start": from_,
        "models": baseline,
        "tasks": tasks,
        "preset": preset,
        "protocol": protocol,
        "seeds": seeds,
    }
    repeated, stored = None, {}
    if config is not None:
        given = given_options(context)
        repeated = read_repeated(config, given)
        typed = {ARGUMENTS.get(name, name) for name in given}
        stored = stored_choice(repeated.config)
        options = {name: value for name, value in options.items() if name in typed}
        if repeated.with_data and options.get("tasks", "").lower() == ALL_TASKS:
            stored["tasks"] = all_tasks(repeated)
            del options["tasks"]
    elif tasks is None:
        raise UserError("Expected --tasks, such as asr,ks or all, or --config. Found neither.")
    assignments = set_ or []
    choice = read_choice(
        **options, devices=devices, data=data, lr=lr, folds=folds, assignments=assignments, stored=stored
    )
    run_config = resolved(choice, repeated)
    # A repeated run gets its own folder. The same command finds that folder again.
    named = [*assignments, *([f"--config {run_config.model_dump_json(exclude={'devices'})}"] if repeated else [])]
    folder = run_folder(out, run_config, named, lr=lr, folds=folds)
    return execute(run_config, folder, device, executor, slurm, split, cache_limit, dry_run=dry_run, as_json=json)


def execute(
    config: RunConfig,
    folder: Path,
    device: str,
    executor: str,
    slurm: str | None,
    split: str,
    cache_limit: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Show the work list, or do the work. The exit code says whether everything is done."""
    from bench.cli.commands import print_commands
    from bench.cli.output import print_groups
    from bench.cli.plan import print_plan
    from bench.leaderboard.comparable import read_board
    from bench.reports.tables.leaderboards import report_groups
    from bench.runs.checks import require_use_of_devices
    from bench.runs.executors.choice import read_executor, works_elsewhere
    from bench.runs.executors.commands import Commands
    from bench.runs.executors.inline import Inline
    from bench.runs.executors.slurm.executor import Slurm
    from bench.runs.run import Run
    from bench.sizes import parse_size
    from bench.store.run_folder import RunFolder
    from bench.terminal.choices import one_of
    from bench.terminal.device import resolve_device
    from bench.terminal.printing import print_json
    from bench.workers.launched import leading

    split = one_of(split, ("test", "dev"), "--split")
    cache_limit_bytes = None if cache_limit is None else parse_size(cache_limit, "--cache-limit")
    device = one_of(device, ("auto", "cpu", "cuda"), "--device")
    # A dry run for another machine needs no GPU here.
    chosen_executor = read_executor(executor, slurm, "cpu" if dry_run else device, config.devices)
    require_use_of_devices(config)
    if dry_run:
        print_plan(config, RunFolder(folder), device, as_json=as_json)
        return 0
    if isinstance(chosen_executor, Slurm):
        chosen_executor.require(folder, config.devices)
    # The machine of the items may have a GPU that this one lacks.
    here = resolve_device("auto" if works_elsewhere(chosen_executor) else device)
    if isinstance(chosen_executor, Commands):
        print_commands(chosen_executor.listed(Run(config, folder, here, cache_limit_bytes).begin()), as_json=as_json)
        return 0
    # Processes that do the items elsewhere see to their own devices.
    with leading(config.devices if isinstance(chosen_executor, Inline) else 1, here) as leads:
        if not leads:
            return 0
        outcome = Run(config, folder, here, cache_limit_bytes, chosen_executor).execute(split)
    if as_json:
        print_json(outcome.leaderboard.astype(object).where(outcome.leaderboard.notna(), None).to_dict("records"))
    elif not outcome.leaderboard.empty:
        print_groups(report_groups([read_board(folder, split)]))
        print_line(outcome.path)
    if outcome.failures:
        failed = shortened(", ".join(outcome.failures), 300)
        say(f"failed: {failed}; see the reasons above. Run again to retry.")
    return 1 if outcome.failures else 0
