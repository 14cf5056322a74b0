"""``bench run --config``: takes options that are not given from a stored run."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bench.errors import UserError

if TYPE_CHECKING:
    from bench.config.repeated import Repeated
    from bench.config.run import RunConfig


def given_options(context: typer.Context) -> set[str]:
    """Return the parameters that the user typed."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def read_repeated(path: Path, given: Collection[str]) -> Repeated:
    """Read a run's ``config.yaml``.

    Args:
        path: the file, or the run's folder.
        given: options that override the file.

    Raises:
        UserError: the file is missing, or is not the configuration of a run.
    """
    from bench.config.later_settings import brought_up_to_date
    from bench.config.overrides import validated
    from bench.config.repeated import Repeated
    from bench.config.run import RunConfig
    from bench.files.yaml import read_yaml
    from bench.store.run_folder import REQUIRED_KEYS

    path = path / "config.yaml" if path.is_dir() else path
    values = read_yaml(path)
    if not isinstance(values, dict) or not values.keys() >= REQUIRED_KEYS:
        raise UserError(f"Expected the config.yaml of a run at {path}. Found other content. Name a run's.")
    validated(RunConfig, values, str(path))
    config = validated(RunConfig, brought_up_to_date(values), str(path))
    return Repeated(config, path, with_data="data" not in given, with_settings="preset" not in given)


def all_tasks(repeated: Repeated) -> tuple[str, ...]:
    """List the tasks in the data of a repeated run."""
    from bench.config.data import tasks_with_data

    data = repeated.config.data
    return tuple(tasks_with_data(data.embedded) if data.embedded else data.tasks)


def stored_choice(config: RunConfig) -> dict[str, Any]:
    """Return the fields of `bench.config.choice.Choice` that give the same run."""
    references = [source.reference for source in config.models.values() if source.reference]
    return {
        "compressors": {row: source.compressor for row, source in config.compressors().items()},
        "teacher": config.teacher,
        "start": config.start,
        "references": tuple(reference for reference in references if reference != config.teacher),
        "tasks": tuple(config.tasks),
        "preset": config.preset,
        "protocol": config.protocol,
        "seeds": config.seeds,
        "training_budget": config.training_budget,
    }
