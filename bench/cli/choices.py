"""Reads what the user typed into a `Choice`, and resolves it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bench import registry
from bench.config.run import Choice, Preset, RunConfig, resolve
from bench.errors import UserError


def comma_separated(text: str, option: str) -> tuple[str, ...]:
    """Split a comma-separated option.

    Raises:
        UserError: nothing in it, or something twice.
    """
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise UserError(f"{option} names nothing. Give at least one, comma-separated.")
    if len(set(parts)) < len(parts):
        raise UserError(f"{option} {text} names one thing twice.")
    return parts


def one_of(value: str, choices: Sequence[str], option: str) -> str:
    """Refuse what is none of the choices, naming the nearest."""
    if value not in choices:
        raise UserError(f"Unknown {option} {value!r}. {registry.nearest(value, choices)}")
    return value


def resolved_run(
    *,
    compressors: str = "none",
    models: str = "",
    teacher: str | None = None,
    tasks: str | None,
    data: str,
    preset: str,
    seeds: str,
    assignments: Sequence[str],
) -> RunConfig:
    """Resolve the options of ``run`` and ``evaluate``; touches neither audio nor weights."""
    one_of(preset, get_args(Preset), "--preset")
    choice = Choice(
        compressors=comma_separated(compressors, "--compressor"),
        references=comma_separated(models, "--model") if models else (),
        teacher=teacher,
        tasks=_task_names(tasks),
        data=data,
        preset=preset,  # type: ignore[arg-type]
        seeds=_integers(seeds),
        assignments=tuple(assignments),
    )
    registry.require("bench.compressors", [name for name in choice.compressors if name != "none"])
    registry.require("bench.tasks", choice.tasks)
    # Here, for it takes torch with it: wrong names are told without that.
    from bench.upstream.reference import check_reference, model_name

    references = [*choice.references, *([teacher] if teacher else [])]
    for reference in references:
        check_reference(reference)
    names = {reference: model_name(reference) for reference in references}
    if len(set(names.values())) < len(set(references)):
        raise UserError(f"Two models would share a name in the leaderboard: {', '.join(references)}. Rename a folder.")
    return resolve(choice, names)


def run_folder(out: Path | None, config: RunConfig, assignments: Sequence[str]) -> Path:
    """The run's folder: ``--out``, or a name derived from the configuration."""
    return out if out is not None else Path("results") / "runs" / config.run_name(assignments)


def _task_names(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    return tuple(registry.names("bench.tasks")) if text == "all" else comma_separated(text, "--tasks")


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in comma_separated(text, "--seeds"))
    except ValueError as error:
        raise UserError(f"Expected whole numbers in --seeds, comma-separated. Found {text!r}.") from error
