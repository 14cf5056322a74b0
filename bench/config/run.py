"""The whole resolved configuration of a run, enough to repeat it, and when two may share a folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bench import registry
from bench.config.data import describe_data
from bench.config.overrides import nested, parse_overrides, validated
from bench.contracts import Data, FeatureProtocol, Settings
from bench.errors import UserError

Preset = Literal["smoke", "mini", "paper"]

TrainingBudget = Literal["updates", "macs", "preset"]
"""What all methods of a sweep have as much of as the first one; ``preset``: each what its preset has."""

SIZES = frozenset({"sparsity", "params"})
"""Settings of compressors that a sweep's own sizes would contradict."""


class ModelSource(Settings):
    """Where one row of the leaderboard comes from: a reference as it is, or a compressor applied to the teacher."""

    reference: str | None = None
    """A model reference, evaluated as it is."""
    compressor: str | None = None
    """Name of the compressor."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The compressor's whole configuration."""


class RunConfig(Settings):
    """What ``config.yaml`` in a run's folder holds."""

    schema_version: int = 1
    """Of this file."""
    teacher: str | None
    """Model reference of the teacher; none for a plain evaluation."""
    data: Data
    """Corpora, with absolute paths."""
    preset: Preset
    """Where every setting not given came from."""
    protocol: FeatureProtocol = "cached"
    """How features are computed: see `bench.contracts.FeatureProtocol`."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the downstream heads."""
    training_budget: TrainingBudget | None = None
    """Of a sweep, in which every seed also compresses; none: no sweep, and seed 0 compresses for all seeds."""
    models: dict[str, ModelSource]
    """Rows of the leaderboard, the teacher's first."""
    tasks: dict[str, dict[str, Any]]
    """Each task's whole configuration."""

    def compressors(self) -> dict[str, ModelSource]:
        """The rows that compression makes."""
        return {name: source for name, source in self.models.items() if source.compressor}

    def identity(self) -> dict[str, Any]:
        """What must agree for runs to share a folder; tasks, models and seeds may be added."""
        return self.model_dump(
            mode="json",
            include={"teacher", "data", "preset", "protocol", "training_budget"},
            exclude={"data": {"tasks", "audio_sha256"}},
        )

    def run_name(self, assignments: Sequence[str]) -> str:
        """Derive the folder's name, so that the same command finds its folder again."""
        key = json.dumps([self.identity(), sorted(assignments)], sort_keys=True)
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        subject = self.teacher or "evaluate"
        return "-".join([re.sub(r"[^A-Za-z0-9.]+", "-", Path(subject).name), self.data.name, self.preset, digest])


class Choice(Settings):
    """What the user chose on the command line, before anything is resolved."""

    compressors: tuple[str, ...] = ()
    """Names; ``none`` stands for the teacher, whose row is always there."""
    references: tuple[str, ...] = ()
    """Models evaluated as they are."""
    teacher: str | None = None
    """Model reference of the teacher."""
    tasks: tuple[str, ...] = ()
    """Names; ``all`` stands for every task that the data have."""
    data: str = "mini"
    """Name of embedded corpora, or a YAML file."""
    preset: Preset = "mini"
    """Preset of compressors and tasks."""
    protocol: FeatureProtocol | None = None
    """How features are computed; by default ``s3prl`` with the preset ``paper``, else ``cached``."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the downstream heads."""
    sparsities: tuple[float, ...] = ()
    """Of a sweep: every compressor makes a row for each. Empty: no sweep."""
    training_budget: TrainingBudget | None = None
    """Of a sweep."""
    assignments: tuple[str, ...] = ()
    """``--set`` as given."""


def resolve(choice: Choice, model_names: Mapping[str, str]) -> RunConfig:
    """Turn the user's choice into a whole configuration, touching neither audio nor weights.

    Args:
        choice: what the command line said.
        model_names: file-name-safe name of every reference and of the teacher.

    Raises:
        UserError: unknown plug-ins, presets or keys, each with the nearest valid name.
    """
    overrides = parse_overrides(choice.assignments)
    compressors = {name: registry.load("bench.compressors", name) for name in choice.compressors if name != "none"}
    tasks = {name: registry.load("bench.tasks", name) for name in choice.tasks}
    data_changes, others = _split(overrides, "data")
    data = describe_data(choice.data, data_changes, tasks)
    to_compressors, to_tasks = _plugin_overrides(compressors, tasks, others)
    rows = _compressor_rows(choice, compressors, to_compressors)
    references = [choice.teacher, *choice.references] if choice.teacher else list(choice.references)
    row_names = [*(model_names[reference] for reference in dict.fromkeys(references)), *rows]
    doubled = sorted({name for name in row_names if row_names.count(name) > 1})
    if doubled:
        raise UserError(
            f"Two rows of the leaderboard would be called {doubled[0]!r}: models bear the names of their folders, "
            "compressed ones that of their compressor. Rename a folder."
        )
    models = {model_names[reference]: ModelSource(reference=reference) for reference in references}
    return RunConfig(
        teacher=choice.teacher,
        data=data,
        preset=choice.preset,
        protocol=choice.protocol or ("s3prl" if choice.preset == "paper" else "cached"),
        seeds=choice.seeds,
        training_budget=choice.training_budget,
        models={**models, **rows},
        tasks={
            name: _configured(plugin, choice.preset, to_tasks[name], f"task {name}") for name, plugin in tasks.items()
        },
    )


def _split(overrides: Mapping[str, Any], head: str) -> tuple[dict[str, Any], dict[str, Any]]:
    prefix = f"{head}."
    inside = {key.removeprefix(prefix): value for key, value in overrides.items() if key.startswith(prefix)}
    outside = {key: value for key, value in overrides.items() if not key.startswith(prefix)}
    return inside, outside


def _plugin_overrides(
    compressors: Mapping[str, Any], tasks: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Find whom each ``--set`` concerns: changes by compressor, and by task."""
    to_all, rest = _split(overrides, "compressor")
    to_tasks, bare = _split(rest, "tasks")
    unknown_tasks = {key.partition(".")[0] for key in to_tasks} - set(tasks)
    if unknown_tasks:
        name = min(unknown_tasks)
        raise UserError(f"--set tasks.{name}...: this task is not chosen. {registry.nearest(name, tasks)}")
    for key in bare:
        fields = sorted({field for plugin in compressors.values() for field in plugin.config_type.model_fields})
        if key.partition(".")[0] not in fields:
            known = registry.nearest(key, [*fields, "data.*", "compressor.*", "tasks.<name>.*"])
            raise UserError(f"--set {key}: no chosen compressor has this key. {known}")
    by_compressor = {}
    for name, plugin in compressors.items():
        fields = plugin.config_type.model_fields
        by_compressor[name] = {
            **to_all,
            **{key: value for key, value in bare.items() if key.partition(".")[0] in fields},
        }
    return by_compressor, {name: _split(to_tasks, name)[0] for name in tasks}


def _compressor_rows(
    choice: Choice, compressors: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]]
) -> dict[str, ModelSource]:
    """List the rows that compression makes: one a compressor, in a sweep one a compressor and sparsity."""
    rows = {}
    for name, plugin in compressors.items():
        if choice.sparsities and "sparsity" not in plugin.config_type.model_fields:
            raise UserError(f"--sparsity: the compressor {name} has no such setting. Leave it out of the sweep.")
        own_size = sorted(SIZES & changes[name].keys()) if choice.sparsities else []
        if own_size:
            raise UserError(f"--set {own_size[0]}: the sizes of a sweep are those of --sparsity. Leave it out.")
        where = f"compressor {name}"
        settings = _configured(plugin, choice.preset, changes[name], where)
        # Settings that leave the sparsity out, such as those of a student of a fixed size, are a row at their own size.
        if not choice.sparsities or "sparsity" not in settings:
            rows[name] = ModelSource(compressor=name, settings=settings)
            continue
        for sparsity in choice.sparsities:
            settings = _configured(plugin, choice.preset, {**changes[name], "sparsity": sparsity}, where)
            rows[f"{name}-{sparsity!r}"] = ModelSource(compressor=name, settings=settings)
    return rows


def _configured(plugin: Any, preset: str, changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    if preset not in plugin.presets:
        raise UserError(f"The {where} has no preset {preset!r}. {registry.nearest(preset, plugin.presets)}")
    base = plugin.presets[preset]
    # What neither sets is left out, for settings may refuse to be set beside others.
    given = base.model_fields_set | {key.partition(".")[0] for key in changes}
    values = {key: value for key, value in nested(changes, base.model_dump()).items() if key in given}
    dumped: dict[str, Any] = validated(plugin.config_type, values, where).model_dump(mode="json")
    return dumped
