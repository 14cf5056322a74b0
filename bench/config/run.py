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
from bench.config.repeated import Repeated
from bench.config.routing import SIZES, Changes, Parts, first_with, split_off, to_compressors, to_tasks
from bench.config.variants import compressor_by_row
from bench.contracts import Data, FeatureProtocol, Settings
from bench.errors import UserError
from bench.stacking import compressor_parts, joined

Preset = Literal["smoke", "mini", "paper"]

StoredParts = Mapping[str, Mapping[str, Any]]
"""Settings of a compressor's parts in a run that is repeated; empty where the preset decides."""

TrainingBudget = Literal["updates", "macs", "preset"]
"""What all methods of a sweep have as much of as the first one; ``preset``: each what its preset has."""


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
    start: str | None = None
    """Model reference that compression goes on from, ``--from``; none: it begins from the teacher."""
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
        # Runs without a start have the name that they had before there was one.
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


class Choice(Settings):
    """What the user chose on the command line, before anything is resolved."""

    compressors: tuple[str, ...] = ()
    """Names, or ``<row>=<name>``; ``none`` stands for the teacher, whose row is always there."""
    references: tuple[str, ...] = ()
    """Models evaluated as they are."""
    teacher: str | None = None
    """Model reference of the teacher."""
    start: str | None = None
    """Model reference that compression goes on from."""
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


def resolve(choice: Choice, model_names: Mapping[str, str], repeated: Repeated | None = None) -> RunConfig:
    """Turn the user's choice into a whole configuration, touching neither audio nor weights.

    Args:
        choice: what the command line said.
        model_names: file-name-safe name of every reference and of the teacher.
        repeated: a stored run, whose settings go before the preset's.

    Raises:
        UserError: unknown plug-ins, presets or keys, each with the nearest valid name.
    """
    overrides = parse_overrides(choice.assignments)
    compressors = compressor_by_row(choice.compressors)
    parts = {row: compressor_parts(name) for row, name in compressors.items()}
    tasks = {name: registry.load("bench.tasks", name) for name in choice.tasks}
    data_changes, others = split_off(overrides, "data")
    if repeated is not None and repeated.with_data:
        data = repeated.data(data_changes, tasks)
    else:
        data = describe_data(choice.data, data_changes, tasks)
    task_changes, others = to_tasks(others, tasks)
    stored = {row: repeated.settings_of_row(row, name) if repeated else {} for row, name in compressors.items()}
    rows = _compressor_rows(choice, compressors, parts, to_compressors(others, parts), stored)
    references = [choice.teacher, *choice.references] if choice.teacher else list(choice.references)
    row_names = [*(model_names[reference] for reference in dict.fromkeys(references)), *rows]
    doubled = sorted({name for name in row_names if row_names.count(name) > 1})
    if doubled:
        raise UserError(
            f"Two rows of the leaderboard would be called {doubled[0]!r}: models bear the names of their folders, "
            "compressed ones that of their compressor. Rename a folder, or the row: NAME=COMPRESSOR."
        )
    models = {model_names[reference]: ModelSource(reference=reference) for reference in references}
    return RunConfig(
        teacher=choice.teacher,
        start=choice.start,
        data=data,
        preset=choice.preset,
        protocol=choice.protocol or ("s3prl" if choice.preset == "paper" else "cached"),
        seeds=choice.seeds,
        training_budget=choice.training_budget,
        models={**models, **rows},
        tasks={
            name: _configured(
                plugin,
                choice.preset,
                task_changes[name],
                f"task {name}",
                repeated.settings_of_task(name) if repeated else None,
            )
            for name, plugin in tasks.items()
        },
    )


def _compressor_rows(
    choice: Choice,
    compressors: Mapping[str, str],
    parts_by_row: Mapping[str, Parts],
    changes: Mapping[str, Changes],
    stored: Mapping[str, StoredParts],
) -> dict[str, ModelSource]:
    """List the rows that compression makes: those that were chosen, in a sweep one for each of them and sparsity."""
    _require_effect(choice.preset, parts_by_row, changes, stored)
    rows = {}
    for row, name in compressors.items():
        parts = parts_by_row[row]
        settings = _settings_by_part(choice.preset, parts, changes[row], stored[row])
        if not choice.sparsities:
            rows[row] = ModelSource(compressor=name, settings=joined(settings))
            continue
        sized = first_with(parts, "sparsity")
        if sized is None:
            raise UserError(f"--sparsity: the compressor {name} has no such setting. Leave it out of the sweep.")
        own_size = sorted(SIZES & changes[row][sized].keys())
        if own_size:
            raise UserError(f"--set {own_size[0]}: the sizes of a sweep are those of --sparsity. Leave it out.")
        # Settings that leave the sparsity out, such as those of a student of a fixed size, are a row at their own size.
        if "sparsity" not in settings[sized]:
            rows[row] = ModelSource(compressor=name, settings=joined(settings))
            continue
        for sparsity in choice.sparsities:
            with_size = {**changes[row], sized: {**changes[row][sized], "sparsity": sparsity}}
            settings = _settings_by_part(choice.preset, parts, with_size, stored[row])
            rows[f"{row}-{sparsity!r}"] = ModelSource(compressor=name, settings=joined(settings))
    return rows


def _settings_by_part(preset: str, parts: Parts, changes: Changes, stored: StoredParts) -> Changes:
    return {
        name: _configured(plugin, preset, changes[name], f"compressor {name}", stored.get(name))
        for name, plugin in parts.items()
    }


def _configured(
    plugin: Any, preset: str, changes: Mapping[str, Any], where: str, stored: Mapping[str, Any] | None
) -> dict[str, Any]:
    dumped: dict[str, Any] = _validated(plugin, preset, changes, where, stored).model_dump(mode="json")
    return dumped


def _validated(
    plugin: Any, preset: str, changes: Mapping[str, Any], where: str, stored: Mapping[str, Any] | None
) -> Settings:
    """Lay changes over stored settings, or over those of the preset where there are none."""
    if stored is not None:
        again: Settings = validated(plugin.config_type, nested(changes, stored), where)
        return again
    if preset not in plugin.presets:
        raise UserError(f"The {where} has no preset {preset!r}. {registry.nearest(preset, plugin.presets)}")
    base = plugin.presets[preset]
    # What neither sets is left out, for settings may refuse to be set beside others.
    given = base.model_fields_set | {key.partition(".")[0] for key in changes}
    values = {key: value for key, value in nested(changes, base.model_dump()).items() if key in given}
    config: Settings = validated(plugin.config_type, values, where)
    return config


def _require_effect(
    preset: str,
    parts_by_row: Mapping[str, Parts],
    changes: Mapping[str, Changes],
    stored: Mapping[str, StoredParts],
) -> None:
    """Refuse what other settings make void in every row that it concerns."""
    has_effect: dict[tuple[str, str], bool] = {}
    for row, parts in parts_by_row.items():
        for part, plugin in parts.items():
            config = _validated(plugin, preset, changes[row][part], f"compressor {part}", stored[row].get(part))
            for key in changes[row][part]:
                has_effect[part, key] = has_effect.get((part, key), False) or _counts(config, key)
    for (part, key), counts in has_effect.items():
        if not counts:
            raise UserError(
                f"--set {key}: the other settings of compressor {part} leave it without effect. Leave it out."
            )


def _counts(settings: Settings, key: str) -> bool:
    """Tell whether a setting, dotted where it is nested, has an effect."""
    field, _, rest = key.partition(".")
    if field in settings.fields_without_effect():
        return False
    inner = getattr(settings, field)
    return _counts(inner, rest) if rest and isinstance(inner, Settings) else True
