"""Reads the user's options into a `Choice`, and resolves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from bench import registry
from bench.cli.numbers import as_decimal, whole_numbers
from bench.cli.spelling import spelled_assignments, spelled_compressor, spelled_data
from bench.config.choice import Choice, Preset, TrainingBudget
from bench.config.data import tasks_with_data
from bench.config.overrides import parse_overrides
from bench.config.repeated import Repeated
from bench.config.row_names import compressor_by_row
from bench.config.rows import Row
from bench.config.run import RunConfig, resolve
from bench.contracts import FeatureProtocol
from bench.contracts.bounds import LARGEST_SEED
from bench.errors import UserError
from bench.files.paths import expanded
from bench.stacking import part_names
from bench.terminal.choices import ALL_TASKS, comma_separated, one_of, spelled
from bench.text import shortened

LARGEST_FOLD = 1000
"""Largest accepted fold number. The task knows how many folds it has."""
LARGEST_RATE = 1000
"""Largest accepted learning rate."""


def resolved_run(*, repeated: Repeated | None = None, earlier: Sequence[Row] = (), **options: Any) -> RunConfig:
    """Resolve the options of a command; see `read_choice` and `bench.config.run.resolve`."""
    return resolved(read_choice(**options), repeated, earlier)


def resolved(choice: Choice, repeated: Repeated | None = None, earlier: Sequence[Row] = ()) -> RunConfig:
    """Resolve a choice, and check its model references. Reads neither audio nor weights."""
    from bench.upstream.reference import check_reference

    config = resolve(choice, repeated, earlier)
    references = [*choice.references, choice.teacher, choice.start]
    for reference in references:
        if reference is not None:
            check_reference(reference)
    return config


def read_choice(
    *,
    compressors: str | None = None,
    models: str | None = None,
    teacher: str | None = None,
    start: str | None = None,
    tasks: str | None = None,
    data: str = "mini",
    preset: str | None = None,
    protocol: str | None = None,
    seeds: str | None = None,
    devices: int | None = None,
    sparsities: str | None = None,
    training_budget: str | None = None,
    lr: str | None = None,
    folds: str | None = None,
    assignments: Sequence[str] = (),
    stored: Mapping[str, Any] | None = None,
) -> Choice:
    """Read the options of a command. This is the only place that converts their text to values.

    Args:
        compressors: ``--compressor``.
        models: ``--baseline``, or ``--model`` if there is no teacher.
        teacher: ``--teacher``.
        start: ``--from``.
        tasks: ``--tasks``.
        data: ``--data``.
        preset: ``--preset``.
        protocol: ``--protocol``.
        seeds: ``--seeds``.
        devices: ``--devices``.
        sparsities: ``--sparsity``.
        training_budget: ``--budget``.
        lr: ``--lr``.
        folds: ``--folds``.
        assignments: every ``--set``.
        stored: fields of `Choice` from a repeated run, for the options that are None.

    Raises:
        UserError: a value of the wrong kind, an unknown name, or a name given twice.
    """
    read: dict[str, Any] = {
        "compressors": None if compressors is None else _compressors(compressors),
        "tasks": None if tasks is None else _task_names(tasks, data),
        "preset": None if preset is None else _preset(preset, compressors),
        "protocol": None if protocol is None else one_of(protocol, get_args(FeatureProtocol), "--protocol"),
        "seeds": None if seeds is None else whole_numbers(comma_separated(seeds, "--seeds"), "--seeds", LARGEST_SEED),
        "sparsities": None if sparsities is None else _sparsities(sparsities),
        "training_budget": None
        if training_budget is None
        else one_of(training_budget, get_args(TrainingBudget), "--budget"),
        "devices": devices,
        "data": spelled_data(data),
        "settings": parse_overrides(spelled_assignments(assignments)),
        "head_settings": _head_settings(lr, folds),
    }
    registry.require("bench.tasks", read["tasks"] or ())
    # Spelling references needs torch. Wrong names are refused before it is imported.
    read |= {
        "references": _references(models, "--baseline" if teacher else "--model") if models else None,
        "teacher": _absolute(teacher) if teacher else None,
        "start": None if start is None else _absolute(start),
    }
    return Choice(**{**(stored or {}), **{name: value for name, value in read.items() if value is not None}})


def run_folder(
    out: Path | None, config: RunConfig, assignments: Sequence[str], *, lr: str | None, folds: str | None
) -> Path:
    """Return the run's folder: ``--out``, or a name derived from the configuration."""
    if out is not None:
        return out
    # As typed, not as task settings: adding a task extends the run, and must find the same folder.
    heads = [f"{option} {value}" for option, value in (("--lr", lr), ("--folds", folds)) if value is not None]
    return Path("results") / "runs" / config.run_name([*spelled_assignments(assignments), *heads])


def _preset(text: str, compressors: str | None) -> str:
    """Read ``--preset``. In addition to the presets that all plug-ins have, a chosen compressor may have its own."""
    common = get_args(Preset)
    if spelled(text, common) in common or compressors is None:
        return one_of(text, common, "--preset")
    parts = {part for stack in _compressors(compressors).values() for part in part_names(stack)}
    own = [preset for part in sorted(parts) for preset in registry.load("bench.compressors", part).presets]
    return one_of(text, list(dict.fromkeys([*common, *own])), "--preset")


def _compressors(text: str) -> dict[str, str]:
    """Read ``--compressor``: the compressor of each row."""
    rows = compressor_by_row([spelled_compressor(part) for part in comma_separated(text, "--compressor")])
    registry.require("bench.compressors", [part for name in rows.values() for part in part_names(name)])
    return rows


def _head_settings(lr: str | None, folds: str | None) -> dict[str, Any]:
    """Read ``--lr`` and ``--folds``, settings of every chosen task that has them."""
    found: dict[str, Any] = {}
    if lr is not None:
        found["learning_rate"] = _learning_rate(lr)
    if folds is not None:
        found["folds"] = whole_numbers(comma_separated(folds, "--folds"), "--folds", LARGEST_FOLD)
    return found


def _learning_rate(text: str) -> float | str:
    if text.lower() == "auto":
        return "auto"
    rate = as_decimal(text)
    if not 0 < rate <= LARGEST_RATE:
        raise UserError(
            f"Expected auto or a positive number up to {LARGEST_RATE} in --lr. Found {shortened(repr(text))}."
        )
    return float(rate)


def _task_names(text: str, data: str) -> tuple[str, ...]:
    if text.lower() == ALL_TASKS:
        return tuple(tasks_with_data(spelled_data(data)))
    return comma_separated(text, "--tasks", registry.names("bench.tasks"))


def _references(text: str, option: str) -> tuple[str, ...]:
    return tuple(_absolute(reference) for reference in comma_separated(text, option))


def _absolute(reference: str) -> str:
    """Spell a reference so that it works from any folder, and is the same text for the same model."""
    from bench.upstream.reference import spelled_reference

    path = expanded(reference)
    return str(path.resolve()) if path.exists() else spelled_reference(reference)


def _sparsities(text: str) -> tuple[float, ...]:
    """Read ``--sparsity``.

    Raises:
        UserError: a part is not a fraction.
    """
    fractions = [float(as_decimal(part)) for part in comma_separated(text, "--sparsity")]
    if not all(0 < fraction < 1 for fraction in fractions) or len(set(fractions)) < len(fractions):
        raise UserError(
            f"Expected different numbers between 0 and 1 in --sparsity, comma-separated. Found {shortened(repr(text))}."
        )
    return tuple(fractions)
