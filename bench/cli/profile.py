"""``bench profile``: the size and speed of models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from bench.cli import options


def profile(
    references: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="[REF]...", help="Model references (see `bench list teachers`), or ONNX files of `bench export`."
        ),
    ] = None,
    run: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--run", metavar="DIR", help="All models of a run's folder; latency is stored in DIR/latency."),
    ] = None,
    latency: Annotated[bool, typer.Option("--latency", help="Measure speed and memory.")] = False,
    by_layer: Annotated[bool, typer.Option("--by-layer", help="Count and measure every layer.")] = False,
    teacher: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="REF",
            help="Show sizes and MACs as shares of this model's, and time models in turn with it [default for times: "
            "the recorded teacher, or else the first REF].",
        ),
    ] = None,
    repeats: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=1,
            metavar="N",
            help="Repeat each workload N times [default: 7, or at least 5 if 7 take over 20 s].",
        ),
    ] = None,
    every_length: Annotated[
        bool,
        typer.Option("--every-length", help="Time all 32 of SUPERB's utterance lengths instead of one per bucket."),
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="With --run: repeat measurements that exist already.")] = False,
    price_per_hour: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(metavar="X", help="Price of this machine; shows the cost of 1,000 hours of audio."),
    ] = None,
    device: options.Device = "auto",
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Show parameters, bytes and MACs of models; with --latency and --by-layer, also how long they take.

    MACs are summed over SUPERB's 32 utterances. Latency is measured on the CPU, with one thread and with all, and on a
    GPU if there is one (cuda requires it, cpu skips it).
    """
    from bench.cli import profile_tables
    from bench.terminal.choices import one_of
    from bench.terminal.printing import print_json

    needs_either = {"--repeats": repeats, "--every-length": every_length or None}
    _refuse_without("--latency or --by-layer", latency or by_layer, needs_either)
    _refuse_without("--latency", latency, {"--price-per-hour": price_per_hour})
    _refuse_without("--run and --latency", latency and run is not None, {"--again": again or None})
    device = one_of(device, ("auto", "cpu", "cuda"), "--device")

    from bench.leaderboard.collate import write_leaderboard
    from bench.leaderboard.run_leaderboard import run_leaderboard
    from bench.profiling.counts import count
    from bench.profiling.kept import kept_records
    from bench.profiling.latency import measure
    from bench.profiling.layers import layers_of
    from bench.profiling.subjects import check_teachers, find_subjects
    from bench.profiling.workloads import Effort
    from bench.store.latency import write_latency
    from bench.store.run_folder import RunFolder
    from bench.terminal.device import resolve_device

    use_gpu = resolve_device(device) == "cuda"
    subjects = find_subjects(references or [], run, teacher)
    rows = [count(subject.reference, subject.name) for subject in subjects]
    effort = Effort(repeats, every_length)
    if latency or by_layer or teacher is not None:
        check_teachers(subjects)
    compared = None if teacher is None else count(teacher, teacher)
    layers = layers_of(subjects, effort) if by_layer else {}
    kept = kept_records(run, subjects, effort, use_gpu=use_gpu) if run is not None and latency and not again else {}
    missing = [subject for subject in subjects if subject.name not in kept] if latency else []
    measured = {}
    for record in measure(missing, effort, use_gpu=use_gpu):
        measured[record.model] = record
        # After each model, so that an interrupted command resumes with the next one.
        if run is not None:
            write_latency(run, record)
    records = [(kept | measured)[subject.name] for subject in subjects] if latency else []
    if run is not None and latency:
        write_leaderboard(run_leaderboard(RunFolder(run)), run)
    if json:
        print_json(profile_tables.as_json(rows, records, layers, price_per_hour, compared))
    else:
        profile_tables.print_tables(rows, records, layers, price_per_hour, compared)
    return 0


def _refuse_without(needed: str, is_there: bool, given: Mapping[str, Any]) -> None:
    from bench.errors import UserError

    for option, value in given.items():
        if value is not None and not is_there:
            raise UserError(f"{option} applies to measurements. Add {needed}, or leave it out.")
        if option == "--price-per-hour" and value is not None and not 0 <= value < float("inf"):
            raise UserError(f"Expected a price from 0 in --price-per-hour. Found {value}.")
