"""Rows of the leaderboard, resolved from the user's choice in one pass.

A row's settings come from, in this order: the preset, or the run that ``--config`` repeats; ``--set``; the size of a
sweep; the warm start; the equal training budget of a sweep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import Field

from bench.config.choice import Choice
from bench.config.overrides import validated
from bench.config.plugin_settings import has_effect, plugin_settings
from bench.config.repeated import Repeated
from bench.config.routing import SIZES, Changes, Parts, first_with, to_compressors
from bench.contracts import Compressor, Settings
from bench.errors import UserError
from bench.stacking import by_part, compressor_parts, compressor_type, joined, what_differs


class ModelSource(Settings):
    """A row as ``config.yaml`` stores it: a reference model, or a compressor applied to the teacher."""

    reference: str | None = None
    """Model reference of a reference row, which is evaluated without compression."""
    compressor: str | None = None
    """Name of the compressor."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The compressor's whole configuration."""


@dataclass(frozen=True)
class Row:
    """A row of the leaderboard."""

    name: str
    reference: str | None = None
    """Model reference of a reference row; None for a compressed row."""
    compressor: str = ""
    """Compressor, or stack, of a compressed row."""
    parts: Mapping[str, Settings] = field(default_factory=dict)
    """Settings of each part of the compressor, in the order of the parts."""
    chosen: Mapping[str, frozenset[str]] = field(default_factory=dict, compare=False)
    """Dotted keys that the user has set, by part."""

    @property
    def source(self) -> ModelSource:
        """The row as ``config.yaml`` stores it."""
        if self.reference is not None:
            return ModelSource(reference=self.reference)
        settings = joined({part: config.model_dump(mode="json") for part, config in self.parts.items()})
        return ModelSource(compressor=self.compressor, settings=settings)

    @property
    def sparsity(self) -> float | None:
        """Return the size that a sweep sets. In a stack, it belongs to the first part with such a setting."""
        having = [config for config in self.parts.values() if "sparsity" in type(config).model_fields]
        return getattr(having[0], "sparsity") if having and has_effect(having[0], "sparsity") else None  # noqa: B009

    def settings(self) -> Settings:
        """Return the settings of the compressor as a whole."""
        if len(self.parts) > 1:
            return compressor_type(self.compressor).config_type(**self.parts)
        return next(iter(self.parts.values()))

    def with_settings(self, settings: Settings) -> Row:
        """Return the row with other settings of the compressor as a whole."""
        if len(self.parts) > 1:
            return replace(self, parts={part: getattr(settings, part) for part in self.parts})
        return replace(self, parts=dict.fromkeys(self.parts, settings))

    def make_compressor(self) -> Compressor:
        """Instantiate the compressor with the row's settings."""
        return compressor_type(self.compressor)(self.settings())

    def target_sparsities(self) -> dict[str, float | None]:
        """Return the share of the teacher to remove in each of its models, by the model's own row.

        If a compressor makes several sizes in one call, it adds to the row's name.
        """
        targets = self.make_compressor().target_sparsities()
        return {self.name + what_differs(self.compressor, model): target for model, target in targets.items()}


def rows(choice: Choice, repeated: Repeated | None = None, earlier: Sequence[Row] = ()) -> list[Row]:
    """Resolve all rows of a run. May read shapes of models, but no weights.

    Args:
        choice: the user's choice.
        repeated: a stored run, whose settings replace the preset's.
        earlier: compressed rows in the run's folder. In a sweep, the first one decides how long all train.

    Raises:
        UserError: unknown plug-ins, presets or keys (each with the nearest valid name), settings that contradict each
            other or their models, or two rows of one name.
    """
    compressed = list(_compressed_rows(choice, repeated))
    if choice.start is not None:
        from bench.config.warm_start import warm_started

        compressed = warm_started(compressed, choice.start, choice.teacher)
    # A repeated sweep names no sparsities, and its stored settings already have equal training.
    if choice.sparsities and choice.training_budget in ("updates", "macs"):
        from bench.config.training_budget import equally_trained

        is_macs = choice.training_budget == "macs"
        compressed = equally_trained(compressed, earlier, choice.teacher if is_macs else None)
    found = [*_reference_rows(choice), *compressed]
    _require_different_names(found)
    return found


def stored_row(name: str, source: ModelSource) -> Row:
    """Return a row as stored in ``config.yaml``.

    Raises:
        UserError: its compressor is not installed, or refuses the settings.
    """
    if not source.compressor:
        return Row(name, source.reference)
    settings = by_part(source.compressor, source.settings)
    parts = {
        part: validated(plugin.config_type, _as_kept(plugin, settings.get(part)), f"compressor {part}, row {name}")
        for part, plugin in compressor_parts(source.compressor).items()
    }
    return Row(name, None, source.compressor, parts)


def _as_kept(plugin: type[Compressor], settings: Any) -> dict[str, Any]:
    return plugin.config_type.as_kept(settings if isinstance(settings, Mapping) else {})


def _reference_rows(choice: Choice) -> list[Row]:
    from bench.upstream.reference import model_name

    references = [choice.teacher, *choice.references] if choice.teacher else choice.references
    return [Row(model_name(reference), reference) for reference in dict.fromkeys(references)]


def _compressed_rows(choice: Choice, repeated: Repeated | None) -> Iterator[Row]:
    """Resolve the compressed rows: the chosen ones, or in a sweep one for each of them and each sparsity."""
    parts_by_row = {name: compressor_parts(compressor) for name, compressor in choice.compressors.items()}
    changes_by_row = to_compressors(choice.settings, parts_by_row)
    _require_effect(choice, repeated, parts_by_row, changes_by_row)
    for name, compressor in choice.compressors.items():
        changes = changes_by_row[name]
        row = _row(choice, repeated, name, parts_by_row[name], changes)
        sized = _part_of_size(compressor, parts_by_row[name], changes) if choice.sparsities else None
        if sized is None or not has_effect(row.parts[sized], "sparsity"):
            # No sweep, or a student of a fixed size: one row of its own size.
            yield row
            continue
        for sparsity in choice.sparsities:
            with_size = {**changes, sized: {**changes[sized], "sparsity": sparsity}}
            yield replace(
                _row(choice, repeated, name, parts_by_row[name], with_size),
                name=f"{name}-{sparsity!r}",
            )


def _row(choice: Choice, repeated: Repeated | None, name: str, parts: Parts, changes: Changes) -> Row:
    compressor = choice.compressors[name]
    stored = repeated.settings_of_row(name, compressor) if repeated else {}
    settings = {
        part: plugin_settings(plugin, choice.preset, changes[part], f"compressor {part}", stored.get(part))
        for part, plugin in parts.items()
    }
    chosen = {part: frozenset(changes[part]) for part in parts}
    return Row(name, None, compressor, settings, chosen)


def _part_of_size(compressor: str, parts: Parts, changes: Changes) -> str:
    """Return the part of a stack that gets the sizes of a sweep."""
    sized = first_with(parts, "sparsity")
    if sized is None:
        raise UserError(f"--sparsity: the compressor {compressor} has no such setting. Leave it out of the sweep.")
    own_size = sorted(SIZES & changes[sized].keys())
    if own_size:
        raise UserError(f"--set {own_size[0]}: the sizes of a sweep are those of --sparsity. Leave it out.")
    return sized


def _require_effect(
    choice: Choice, repeated: Repeated | None, parts_by_row: Mapping[str, Parts], changes_by_row: Mapping[str, Changes]
) -> None:
    """Refuse a setting that has no effect in any of the rows that it applies to."""
    effects: dict[tuple[str, str], bool] = {}
    for name, parts in parts_by_row.items():
        row = _row(choice, repeated, name, parts, changes_by_row[name])
        for part, changes in changes_by_row[name].items():
            for key in changes:
                effects[part, key] = effects.get((part, key), False) or has_effect(row.parts[part], key)
    for (part, key), matters in effects.items():
        if not matters:
            raise UserError(
                f"--set {key}: the other settings of compressor {part} leave it without effect. Leave it out."
            )


def _require_different_names(found: Iterable[Row]) -> None:
    names = [row.name for row in found]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UserError(
            f"Two rows of the leaderboard would be called {doubled[0]!r}: models bear the names of their folders, "
            "compressed ones that of their compressor. Rename a folder, or the row: NAME=COMPRESSOR."
        )
