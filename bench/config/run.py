"""The fully resolved configuration of a run, enough to repeat it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from bench import registry
from bench.config.choice import Choice, Preset, TrainingBudget
from bench.config.data import describe_data
from bench.config.plugin_settings import plugin_settings
from bench.config.repeated import Repeated
from bench.config.routing import Changes, split_off, to_tasks
from bench.config.rows import ModelSource, Row, rows, stored_row
from bench.contracts import Data, FeatureProtocol, Settings
from bench.contracts.bounds import Devices, Seed
from bench.contracts.names import Name
from bench.errors import UserError

__all__ = ["Choice", "ModelSource", "Preset", "RunConfig", "TrainingBudget", "resolve", "without_rows"]

_HEAD_OPTIONS = {"learning_rate": "--lr", "folds": "--folds"}


class Call(Settings):
    """What one call of a command has asked for: each of its rows on each of its tasks with each of its seeds."""

    models: tuple[Name, ...]
    """Rows."""
    tasks: tuple[Name, ...]
    seeds: tuple[Seed, ...]

    def covers(self, other: Call) -> bool:
        """Whether it has asked for everything that another call asks for."""
        pairs = ((self.models, other.models), (self.tasks, other.tasks), (self.seeds, other.seeds))
        return all(set(mine) >= set(others) for mine, others in pairs)


class RunConfig(Settings):
    """The content of ``config.yaml`` in a run's folder."""

    schema_version: int = 1
    """Schema version of this file."""
    teacher: str | None
    """Model reference of the teacher. None for an evaluation without a teacher."""
    start: str | None = None
    """Model reference of the warm start, ``--from``. None: compression starts from the teacher."""
    data: Data
    """Corpora, with absolute paths."""
    preset: str
    """Source of every setting that was not given."""
    protocol: FeatureProtocol = "cached"
    """How features are computed, see `bench.contracts.FeatureProtocol`."""
    seeds: tuple[Seed, ...] = Field(default=(0,), max_length=1_000)
    """Seeds of the downstream heads."""
    training_budget: TrainingBudget | None = None
    """Budget of a sweep, in which every seed also compresses. None: no sweep, and seed 0 compresses for all seeds."""
    devices: Devices = 1
    """Devices that share each update of a compression. They change a model by rounding only, so runs that share a
    folder need not agree on it, and a repeated run does not take it over."""
    models: dict[Name, ModelSource]
    """Rows of the leaderboard, the teacher's first."""
    tasks: dict[Name, dict[str, Any]]
    """Each task's full configuration."""

    calls: tuple[Call, ...] = ()
    """What each call has asked for, if calls have extended the folder in different ways. Empty: every row on every task
    with every seed."""

    def fields_without_effect(self) -> Collection[str]:
        """See `Settings`."""
        return () if self.calls else ("calls",)

    def call(self) -> Call:
        """Return what this configuration asks for if it is that of a single call."""
        return Call(models=tuple(self.models), tasks=tuple(self.tasks), seeds=self.seeds)

    def asks_for(self, model: str, seed: int, task: str | None = None) -> bool:
        """Whether some call has asked for a row with a seed, on this task or on any."""
        return not self.calls or any(
            model in call.models and seed in call.seeds and (task is None or task in call.tasks) for call in self.calls
        )

    def compressors(self) -> dict[str, ModelSource]:
        """The rows that compression makes."""
        return {name: source for name, source in self.models.items() if source.compressor}

    def row(self, name: str) -> Row:
        """Return a row with its typed settings.

        Raises:
            UserError: its compressor is not installed, or refuses the settings.
        """
        return stored_row(name, self.models[name])

    def identity(self) -> dict[str, Any]:
        """Return the settings in which runs that share a folder must agree. Tasks, models and seeds may be added."""
        # Runs without a warm start keep their names from versions without this setting.
        start = {"start"} if self.start else set()
        return self.model_dump(
            mode="json",
            include={"teacher", "data", "preset", "protocol", "training_budget"} | start,
            exclude={"data": {"tasks", "audio_sha256"}},
        )

    def run_name(self, assignments: Sequence[str]) -> str:
        """Derive the folder's name, so that the same command finds its folder again."""
        key = json.dumps([self.identity(), sorted(assignments)], sort_keys=True)
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        subject = self.teacher or "evaluate"
        return "-".join([re.sub(r"[^A-Za-z0-9.]+", "-", Path(subject).name), self.data.name, self.preset, digest])


def resolve(choice: Choice, repeated: Repeated | None = None, earlier: Sequence[Row] = ()) -> RunConfig:
    """Resolve the user's choice to a full configuration. Reads neither audio nor weights.

    Args:
        choice: the user's choice.
        repeated: a stored run, whose settings replace the preset's.
        earlier: compressed rows in the run's folder, see `bench.config.rows.rows`.

    Raises:
        UserError: unknown plug-ins, presets or keys, each with the nearest valid name.
    """
    config = without_rows(choice, repeated)
    found = rows(choice, repeated, earlier)
    learned = {task for row in found if row.compressor for task in row.make_compressor().tasks_learned()}
    if learned - set(config.data.tasks):
        config = without_rows(choice, repeated, sorted(learned))
    return config.model_copy(update={"models": {row.name: row.source for row in found}})


def without_rows(choice: Choice, repeated: Repeated | None = None, learned: Sequence[str] = ()) -> RunConfig:
    """Resolve everything that the rows share; see `resolve`.

    Args:
        choice: the user's choice.
        repeated: a stored run.
        learned: further tasks whose corpora compressors learn from.
    """
    registry.require("bench.tasks", learned)
    tasks = {name: registry.load("bench.tasks", name) for name in choice.tasks}
    data_changes, _ = split_off(choice.settings, "data")
    task_changes = _task_changes(choice, tasks)
    with_corpora = {**tasks, **{name: registry.load("bench.tasks", name) for name in learned}}
    if repeated is not None and repeated.with_data:
        data = repeated.data(data_changes, with_corpora)
    else:
        data = describe_data(choice.data, data_changes, with_corpora)
    return RunConfig(
        teacher=choice.teacher,
        start=choice.start,
        data=data,
        preset=choice.preset,
        protocol=choice.protocol or ("s3prl" if choice.preset == "paper" else "cached"),
        seeds=choice.seeds,
        training_budget=choice.training_budget,
        devices=choice.devices,
        models={},
        tasks={
            name: plugin_settings(
                plugin,
                choice.preset,
                task_changes[name],
                f"task {name}",
                repeated.settings_of_task(name) if repeated else None,
            ).model_dump(mode="json")
            for name, plugin in tasks.items()
        },
    )


def _task_changes(choice: Choice, tasks: Mapping[str, Any]) -> Changes:
    """Return each task's changes by ``--set``, ``--lr`` and ``--folds``."""
    changes = to_tasks(choice.settings, tasks)
    for field, value in choice.head_settings.items():
        option = _HEAD_OPTIONS.get(field, field)
        having = [name for name, plugin in tasks.items() if field in plugin.config_type.model_fields]
        if not having:
            raise UserError(f"{option}: none of the chosen tasks ({', '.join(tasks)}) has {field}. Leave it out.")
        for name in having:
            if field in changes[name]:
                raise UserError(f"--set tasks.{name}.{field} and {option} set the same. Keep one of them.")
            changes[name][field] = value
    return changes
