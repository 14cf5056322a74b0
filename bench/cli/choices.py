"""Reads what the user typed into a `Choice`, and resolves it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bench import registry
from bench.config.run import Choice, Preset, RunConfig, resolve
from bench.contracts import FeatureProtocol
from bench.errors import UserError

# What numpy's and torch's generators take.
LARGEST_SEED = 2**32


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
    protocol: str | None = None,
    seeds: str,
    assignments: Sequence[str],
) -> RunConfig:
    """Resolve the options of ``run`` and ``evaluate``; touches neither audio nor weights."""
    one_of(preset, get_args(Preset), "--preset")
    if protocol is not None:
        one_of(protocol, get_args(FeatureProtocol), "--protocol")
    choice = Choice(
        compressors=comma_separated(compressors, "--compressor"),
        references=tuple(_absolute(model) for model in comma_separated(models, "--model")) if models else (),
        teacher=_absolute(teacher) if teacher else None,
        tasks=_task_names(tasks),
        data=data,
        preset=preset,  # type: ignore[arg-type]
        protocol=protocol,  # type: ignore[arg-type]
        seeds=_seeds(seeds),
        assignments=tuple(assignments),
    )
    registry.require("bench.compressors", [name for name in choice.compressors if name != "none"])
    registry.require("bench.tasks", choice.tasks)
    # Here, for it takes torch with it: wrong names are told without that.
    from bench.upstream.reference import check_reference, model_name

    references = [*choice.references, *([choice.teacher] if choice.teacher else [])]
    names = {reference: model_name(reference) for reference in references}
    config = resolve(choice, names)
    for reference in references:
        check_reference(reference)
    return config


def run_folder(out: Path | None, config: RunConfig, assignments: Sequence[str]) -> Path:
    """The run's folder: ``--out``, or a name derived from the configuration."""
    return out if out is not None else Path("results") / "runs" / config.run_name(assignments)


def _task_names(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    return tuple(registry.names("bench.tasks")) if text == "all" else comma_separated(text, "--tasks")


def _absolute(reference: str) -> str:
    """Spell a local reference so that it means the same from any folder."""
    path = Path(reference).expanduser()
    return str(path.resolve()) if path.exists() else reference


def _seeds(text: str) -> tuple[int, ...]:
    parts = comma_separated(text, "--seeds")
    if not all(part.isdecimal() and int(part) < LARGEST_SEED for part in parts):
        raise UserError(f"Expected whole numbers from 0 to 2**32 - 1 in --seeds, comma-separated. Found {text!r}.")
    return tuple(int(part) for part in parts)


def parse_size(text: str, option: str) -> int:
    """Read a size such as ``50GB`` or ``800MB`` in bytes (powers of 1000).

    Raises:
        UserError: it is none.
    """
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    if found is None or found[2] not in units:
        raise UserError(f"Expected a size such as 50GB or 800MB in {option}. Found {text!r}.")
    return round(float(found[1]) * units[found[2]])
