"""Compressing and evaluating in Python, with what the command line takes, typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import registry
from bench.api.models import Model, in_memory_only, load_upstream, reference_to, references_to
from bench.api.results import Results, Split
from bench.config.choice import Choice, TrainingBudget
from bench.config.data import tasks_with_data
from bench.config.overrides import validated
from bench.config.row_names import require_free_name
from bench.config.rows import stored_row
from bench.config.run import RunConfig, resolve, without_rows
from bench.contracts import FeatureProtocol
from bench.errors import UserError
from bench.files.paths import expanded
from bench.runs.checks import require_use_of_devices
from bench.runs.compress import compress_into
from bench.runs.executors.choice import read_executor
from bench.runs.executors.commands import Commands
from bench.runs.rows import rows_there
from bench.runs.run import Run
from bench.stacking import part_names
from bench.store.run_folder import RunFolder
from bench.terminal.choices import ALL_TASKS
from bench.terminal.device import resolve_device
from bench.upstream import AnyUpstream, check_reference

TEACHER = "mini-hubert"


def compress(
    compressor: str,
    *,
    out: str | Path,
    teacher: Model = TEACHER,
    data: str | Path = "mini",
    preset: str = "mini",
    start: Model | None = None,
    device: str = "auto",
    devices: int = 1,
    **settings: Any,
) -> AnyUpstream | dict[str, AnyUpstream]:
    """Make a smaller model. After an interruption, the same call resumes.

    Args:
        compressor: its name, or a stack such as ``dphubert+int8``.
        out: folder for the model. If it holds this very model already, nothing is computed.
        teacher: the model to compress.
        data: embedded corpora, or a YAML file; see docs/data.md.
        preset: ``smoke``, ``mini``, ``paper`` or another one that the compressor has, such as ``paper-thin``.
        start: a compressed model to start from.
        device: ``auto``, ``cpu`` or ``cuda``.
        devices: number of devices that share each update.
        settings: of the compressor, such as ``sparsity=0.75``; see docs/methods.

    Returns:
        The compressed model; or, if the settings ask for several sizes, the models by the names of their folders.

    Raises:
        UserError: an unknown name or setting, a teacher that cannot be compressed, or a folder with other content.
    """
    arguments = {
        "compressors": _compressors(compressor),
        "teacher": reference_to(teacher),
        "start": None if start is None else reference_to(start),
        "data": _data(data),
        "preset": preset,
        "devices": devices,
        "settings": settings,
    }
    choice = validated(Choice, arguments, "bench.compress")
    config = _resolved(choice)
    require_use_of_devices(config)
    (row,) = config.compressors()
    folders = [Path(made["model"]) for made in compress_into(config, row, Path(out), resolve_device(device))]
    if folders == [Path(out).resolve()]:
        return load_upstream(folders[0])
    return {folder.name: load_upstream(folder) for folder in folders}


def evaluate(
    models: Model | Sequence[Model] | Mapping[str, Model],
    tasks: Sequence[str] | str,
    *,
    data: str | Path = "mini",
    preset: str = "mini",
    out: str | Path | None = None,
    **options: Any,
) -> Results:
    """Score models on downstream tasks. The same call again completes what is missing, and repeats nothing.

    Args:
        models: references, loaded models or modules of your own that satisfy `bench.contracts.Upstream`. A mapping
            names their rows.
        tasks: names such as ``["ks", "asr"]``, or ``"all"``.
        data: embedded corpora, or a YAML file; see docs/data.md.
        preset: ``smoke``, ``mini`` or ``paper``.
        out: the run's folder. Default: a folder in ``results/runs``, named by the configuration.
        options: ``protocol``, ``seeds``, ``learning_rate``, ``folds``, ``split``, ``device``, ``executor`` and
            ``settings``, as in `run`.

    Raises:
        UserError: an unknown name or setting, or data that cannot be used.
    """
    references = references_to(models)
    return _run(tasks, out, _TEACHERLESS | {"references": references, "data": data, "preset": preset}, **options)


def run(
    compressors: str | Sequence[str] | Mapping[str, str],
    tasks: Sequence[str] | str,
    *,
    teacher: Model = TEACHER,
    baselines: Sequence[Model] | Mapping[str, Model] = (),
    start: Model | None = None,
    data: str | Path = "mini",
    preset: str = "mini",
    out: str | Path | None = None,
    sparsities: Sequence[float] = (),
    training_budget: TrainingBudget = "updates",
    devices: int = 1,
    **options: Any,
) -> Results:
    """Compress a teacher, evaluate it and the compressed models, and collate a leaderboard: ``bench run`` in Python.

    Args:
        compressors: names, or a mapping from rows to compressors.
        tasks: names, or ``"all"``.
        teacher: the model to compress; it always has a row.
        baselines: further models to evaluate.
        start: a compressed model to start from.
        data: embedded corpora, or a YAML file.
        preset: source of every setting that is not given.
        out: the run's folder. Default: a folder in ``results/runs``, named by the configuration.
        sparsities: makes the run a sweep (``bench sweep``): one row per compressor and sparsity, and every seed
            compresses its own models.
        training_budget: of a sweep: what all methods get as much of as the first one.
        devices: number of devices that share each update of a compression.
        options: ``protocol`` (``cached`` or ``s3prl``), ``seeds`` of the heads (default ``(0,)``), ``learning_rate``
            (a number, or ``"auto"``), ``folds``, ``split`` of the table (``test`` or ``dev``), ``device``, ``executor``
            (``inline``, ``processes:N`` or ``slurm``) and ``settings``, a mapping of dotted keys such as
            ``{"dphubert.sparsity": 0.75}``.

    Raises:
        UserError: an unknown name or setting, settings that contradict each other, or data that cannot be used.
    """
    choice = {
        "compressors": _compressors(compressors),
        "teacher": reference_to(teacher),
        "references": references_to(baselines) if baselines else (),
        "start": None if start is None else reference_to(start),
        "data": data,
        "preset": preset,
        "sparsities": sparsities,
        "training_budget": training_budget if sparsities else None,
        "devices": devices,
    }
    return _run(tasks, out, choice, **options)


_TEACHERLESS: dict[str, Any] = {"compressors": {}, "teacher": None, "start": None}


def _run(
    tasks: Sequence[str] | str,
    out: str | Path | None,
    choice: Mapping[str, Any],
    *,
    protocol: FeatureProtocol | None = None,
    seeds: Sequence[int] = (0,),
    learning_rate: float | str | None = None,
    folds: Sequence[int] | None = None,
    split: Split = "test",
    device: str = "auto",
    executor: str = "inline",
    settings: Mapping[str, Any] | None = None,
) -> Results:
    data = _data(choice["data"])
    heads = {"learning_rate": learning_rate, "folds": folds}
    given = {key: value for key, value in heads.items() if value is not None}
    arguments = {
        **choice,
        "data": data,
        "tasks": _tasks(tasks, data),
        "protocol": protocol,
        "seeds": seeds,
        "settings": settings or {},
        "head_settings": given,
    }
    chosen = validated(Choice, arguments, "this run")
    named = [f"{key}={value}" for key, value in {**chosen.settings, **given}.items()]
    folder = Path(out) if out is not None else Path("results") / "runs" / without_rows(chosen).run_name(named)
    config = _resolved(chosen, folder)
    require_use_of_devices(config)
    chosen_executor = read_executor(executor, None, device, config.devices)
    if isinstance(chosen_executor, Commands):
        raise UserError("Executor commands prints commands. Use `bench run --executor commands`.")
    references = [chosen.teacher, chosen.start, *chosen.references]
    if executor != "inline" and in_memory_only(references):
        raise UserError(
            f"Executor {executor} starts other processes, which cannot see a model in memory. Save it and name its "
            'folder, or use executor="inline".'
        )
    outcome = Run(config, folder, resolve_device(device), None, chosen_executor).execute(split)
    return Results(outcome.leaderboard, folder.resolve(), outcome.failures)


def _resolved(choice: Choice, folder: Path | None = None) -> RunConfig:
    """Resolve a choice, and check its model references."""
    there = rows_there(RunFolder(folder)) if folder is not None and choice.sparsities else {}
    config = resolve(choice, earlier=[stored_row(name, source) for name, source in there.items()])
    for reference in (*choice.references, choice.teacher, choice.start):
        if reference is not None:
            check_reference(reference)
    return config


def _compressors(compressors: str | Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    names = [compressors] if isinstance(compressors, str) else compressors
    rows = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
    for row, name in rows.items():
        if row != name:
            require_free_name(row)
    registry.require("bench.compressors", [part for name in rows.values() for part in part_names(name)])
    return rows


def _tasks(tasks: Sequence[str] | str, data: str) -> tuple[str, ...]:
    if tasks == ALL_TASKS:
        return tuple(tasks_with_data(data))
    names = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    registry.require("bench.tasks", names)
    return names


def _data(data: str | Path) -> str:
    return str(data) if expanded(str(data)).suffix else str(data).lower()
