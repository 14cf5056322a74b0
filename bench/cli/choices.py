"""Reads what the user typed into a `Choice`, and resolves it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bench import registry
from bench.cli.numbers import as_decimal, whole_numbers
from bench.cli.spelling import spelled_assignments, spelled_compressor, spelled_data
from bench.config.data import tasks_with_data
from bench.config.repeated import Repeated
from bench.config.run import Choice, Preset, RunConfig, TrainingBudget, resolve
from bench.config.variants import compressor_by_row
from bench.contracts import FeatureProtocol
from bench.errors import UserError
from bench.stacking import part_names
from bench.terminal.choices import ALL_TASKS, comma_separated, one_of
from bench.text import shortened

LARGEST_SEED = 2**32 - 1
"""What numpy's and torch's generators take."""
LARGEST_FOLD = 4
LARGEST_RATE = 1000
"""Of learning."""


def resolved_run(
    *,
    compressors: str = "none",
    models: str = "",
    teacher: str | None = None,
    start: str | None = None,
    tasks: str | None,
    data: str,
    preset: str,
    protocol: str | None = None,
    seeds: str,
    sparsities: str | None = None,
    training_budget: str | None = None,
    assignments: Sequence[str],
    repeated: Repeated | None = None,
) -> RunConfig:
    """Resolve the options of ``run``, ``evaluate`` and ``sweep``; touches neither audio nor weights.

    ``models`` are evaluated as they are, beside the teacher where there is one; compression goes on from ``start``.
    Settings are those of the run that is ``repeated``, where there is one, else of the preset.
    """
    preset = one_of(preset, get_args(Preset), "--preset")
    if protocol is not None:
        protocol = one_of(protocol, get_args(FeatureProtocol), "--protocol")
    if training_budget is not None:
        training_budget = one_of(training_budget, get_args(TrainingBudget), "--budget")
    models_option = "--baseline" if teacher else "--model"
    choice = Choice(
        compressors=tuple(spelled_compressor(text) for text in comma_separated(compressors, "--compressor")),
        references=comma_separated(models, models_option) if models else (),
        teacher=teacher or None,
        start=start,
        tasks=_task_names(tasks, data),
        data=spelled_data(data),
        preset=preset,  # type: ignore[arg-type]
        protocol=protocol,  # type: ignore[arg-type]
        seeds=whole_numbers(comma_separated(seeds, "--seeds"), "--seeds", LARGEST_SEED),
        sparsities=() if sparsities is None else _sparsities(sparsities),
        training_budget=training_budget,  # type: ignore[arg-type]
        assignments=tuple(spelled_assignments(assignments)),
    )
    chosen = compressor_by_row(choice.compressors).values()
    registry.require("bench.compressors", [part for name in chosen for part in part_names(name)])
    registry.require("bench.tasks", choice.tasks)
    # Imported here, as it imports torch: wrong names are refused without it.
    from bench.runs.warm_start import with_warm_start
    from bench.upstream.reference import check_reference, model_name

    choice = _with_absolute_references(choice)
    references = [*choice.references, *([choice.teacher] if choice.teacher else [])]
    names = {reference: model_name(reference) for reference in references}
    config = resolve(choice, names, repeated)
    for reference in [*references, *([] if choice.start is None else [choice.start])]:
        check_reference(reference)
    return with_warm_start(config, choice.assignments)


def run_folder(
    out: Path | None, config: RunConfig, assignments: Sequence[str], *, lr: str | None, folds: str | None
) -> Path:
    """The run's folder: ``--out``, or a name derived from the configuration."""
    # As typed, not as one assignment a task: a further task extends the run, and must find its folder.
    shorthands = [f"{option} {value}" for option, value in (("--lr", lr), ("--folds", folds)) if value is not None]
    return (
        out
        if out is not None
        else Path("results") / "runs" / config.run_name([*spelled_assignments(assignments), *shorthands])
    )


def head_shorthands(tasks: str | None, data: str, lr: str | None, folds: str | None) -> list[str]:
    """Spell ``--lr`` and ``--folds`` as ``--set`` for every chosen task that has such a setting.

    Raises:
        UserError: a value of the wrong kind, or no chosen task that it concerns.
    """
    if lr is None and folds is None:
        return []
    names = _task_names(tasks, data)
    settings = {name: registry.load("bench.tasks", name).config_type.model_fields for name in names}
    assignments = []
    for option, field, value in (
        ("--lr", "learning_rate", None if lr is None else _learning_rate(lr)),
        ("--folds", "folds", None if folds is None else _folds(folds)),
    ):
        concerned = [name for name, fields in settings.items() if field in fields]
        if value is not None and not concerned:
            raise UserError(f"{option}: none of the chosen tasks ({', '.join(names)}) has {field}. Leave it out.")
        assignments += [f"tasks.{name}.{field}={value}" for name in concerned if value is not None]
    return assignments


def _learning_rate(text: str) -> str:
    if text.lower() == "auto":
        return "auto"
    rate = as_decimal(text)
    if not 0 < rate <= LARGEST_RATE:
        raise UserError(
            f"Expected auto or a positive number up to {LARGEST_RATE} in --lr. Found {shortened(repr(text))}."
        )
    return repr(float(rate))


def _folds(text: str) -> str:
    folds = whole_numbers(comma_separated(text, "--folds"), "--folds", LARGEST_FOLD)
    return f"[{', '.join(str(fold) for fold in folds)}]"


def _task_names(text: str | None, data: str) -> tuple[str, ...]:
    if text is None:
        return ()
    if text.lower() == ALL_TASKS:
        return tuple(tasks_with_data(spelled_data(data)))
    return comma_separated(text, "--tasks", registry.names("bench.tasks"))


def _with_absolute_references(choice: Choice) -> Choice:
    update = {
        "references": tuple(_absolute(reference) for reference in choice.references),
        "teacher": None if choice.teacher is None else _absolute(choice.teacher),
        "start": None if choice.start is None else _absolute(choice.start),
    }
    return choice.model_copy(update=update)


def _absolute(reference: str) -> str:
    """Spell a reference so that it means the same from any folder, and is the same text for the same model."""
    from bench.upstream.reference import spelled_reference

    path = Path(reference).expanduser()
    return str(path.resolve()) if path.exists() else spelled_reference(reference)


def _sparsities(text: str) -> tuple[float, ...]:
    """Read ``--sparsity``.

    Raises:
        UserError: a part is no fraction.
    """
    fractions = [float(as_decimal(part)) for part in comma_separated(text, "--sparsity")]
    if not all(0 < fraction < 1 for fraction in fractions) or len(set(fractions)) < len(fractions):
        raise UserError(
            f"Expected different numbers between 0 and 1 in --sparsity, comma-separated. Found {shortened(repr(text))}."
        )
    return tuple(fractions)
