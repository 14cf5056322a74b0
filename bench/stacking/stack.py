"""A stack as one compressor, made of ordinary plug-ins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, create_model
from typing_extensions import Self

from bench import registry
from bench.contracts import (
    AudioSource,
    ComparableTraining,
    Compressor,
    Context,
    Settings,
    TrainingWork,
)
from bench.errors import UserError
from bench.stacking.names import part_names, what_differs
from bench.stacking.work import Work, naming_part
from bench.store.claims import claim_folder

if TYPE_CHECKING:
    from bench.upstream import UpstreamConfig, UpstreamModel


_REQUIRED = ("name", "summary", "config_type", "presets", "check", "compress")
"""Required members of every compressor."""


def compressor_parts(name: str) -> dict[str, type[Compressor]]:
    """Import a compressor, or the parts of a stack in order.

    Raises:
        UserError: a part is not a plug-in, cannot be imported, or cannot compress the models of the part before it.
    """
    parts = {part: _imported(part) for part in part_names(name)}
    for (before, first), (part, plugin) in pairwise(parts.items()):
        if first.makes_reduced_linears and not plugin.takes_reduced_linears:
            raise UserError(
                f"--compressor {name}: {part} cannot compress the reduced linear layers that {before} produces. "
                f"Write {part} before {before}."
            )
    return parts


@cache
def _imported(name: str) -> type[Compressor]:
    plugin = registry.load("bench.compressors", name)
    missing = [member for member in _REQUIRED if not hasattr(plugin, member)]
    if not isinstance(plugin, type) or missing:
        lacks = f"without {', '.join(missing)}" if isinstance(plugin, type) else "no class"
        raise UserError(
            f"Expected the compressor {name} to be a subclass of bench.contracts.Compressor. Found {plugin!r}, {lacks}."
        )
    if issubclass(plugin, Compressor):
        return plugin
    # A plain class inherits the defaults of the methods that it lacks.
    return type(plugin.__name__, (plugin, Compressor), {"__module__": plugin.__module__})


def compressor_type(name: str) -> type[Compressor]:
    """Import a compressor, or make the class of a stack.

    Raises:
        UserError: see `compressor_parts`.
    """
    parts = compressor_parts(name)
    return _stack_type(name) if len(parts) > 1 else parts[name]


class StackConfig(Settings):
    """Settings of a stack: one field per part, with the part's name."""

    @classmethod
    def as_kept(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Bring the settings of each part up to date."""
        types: dict[str, Any] = {name: field.annotation for name, field in cls.model_fields.items()}
        return {
            name: types[name].as_kept(kept) if name in types and isinstance(kept, Mapping) else kept
            for name, kept in settings.items()
        }

    def num_updates(self) -> int:
        """Count the optimiser updates of all parts that train; see `bench.contracts.ComparableTraining`."""
        return sum(recipe.num_updates() for recipe in self._trained().values())

    def with_num_updates(self, num_updates: int) -> Self:
        """Return the same stack with this number of updates. All parts that train are scaled alike.

        Raises:
            UserError: too few for a part.
        """
        trained = self._trained()
        ends = [0, *accumulate(recipe.num_updates() for recipe in trained.values())]
        shares = [
            round(num_updates * end / ends[-1]) - round(num_updates * start / ends[-1]) for start, end in pairwise(ends)
        ]
        changed = {name: trained[name].with_num_updates(share) for name, share in zip(trained, shares, strict=True)}
        return self.model_copy(update=changed)

    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of all training, as if every part's teacher were as large as the first part's."""
        return sum(recipe.training_macs(teacher) for recipe in self._trained().values())

    def _trained(self) -> dict[str, ComparableTraining]:
        parts = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: settings
            for name, settings in parts.items()
            if isinstance(settings, ComparableTraining) and settings.num_updates()
        }


@dataclass(frozen=True)
class PartsMade:
    """Existing models of a stack's leading parts."""

    num_parts: int = 0
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Folder of each model, by what its name adds to those of the parts, see `what_differs`."""


class Stack(Compressor):
    """Base class of all stacks. `compressor_type` makes its subclasses."""

    part_types: ClassVar[Mapping[str, type[Compressor]]]

    def __init__(self, config: Any, made: PartsMade | None = None) -> None:
        super().__init__(config)
        self.made = made or PartsMade()
        self._parts: dict[str, Compressor] = {
            name: part(getattr(config, name)) for name, part in self.part_types.items()
        }

    def beginning_with(self, made: PartsMade) -> Stack:
        """Return the same stack, which reuses these models of its leading parts."""
        return type(self)(self.config, made)

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse impossible work before any long work starts. Later parts use `check_ahead`.

        Raises:
            UserError: a part refuses.
        """
        for number, (name, part) in enumerate(self._parts.items()):
            with naming_part(name):
                if number == 0:
                    part.check(teacher, audio, context)
                else:
                    part.check_ahead(teacher, audio, context)

    def numerics(self, context: Context) -> dict[str, Any]:
        """Return how each part computes, by the part's name; see `bench.contracts.Compressor`."""
        return {name: dict(part.numerics(context)) for name, part in self._parts.items()}

    def training_work(self, teacher: UpstreamConfig) -> TrainingWork | None:
        """Estimate the work of the parts that are left to do; see `bench.contracts.Compressor`.

        Every part's teacher counts as large as the first part's.
        """
        parts = list(self._parts.values())[self.made.num_parts :]
        works = [work for part in parts if (work := part.training_work(teacher)) is not None]
        if len(works) < len(parts):
            return None
        audio_s = [work.audio_s for work in works if work.audio_s is not None]
        return TrainingWork(
            updates=sum(work.updates for work in works),
            macs=sum(work.macs for work in works),
            audio_s=sum(audio_s) if len(audio_s) == len(works) else None,
        )

    def uses_devices(self) -> bool:
        """Whether a part does; see `bench.contracts.Compressor`."""
        return any(part.uses_devices() for part in self._parts.values())

    def tasks_learned(self) -> list[str]:
        """Name the tasks whose losses a part needs; see `bench.contracts.Compressor`."""
        return list(dict.fromkeys(task for part in self._parts.values() for task in part.tasks_learned()))

    def target_sparsities(self) -> dict[str, float | None]:
        """Return the share of the first part's teacher to remove in each model; see `bench.contracts.Compressor`."""
        lost: dict[str, float | None] = {"": 0.0}
        for name, part in self._parts.items():
            targets = {what_differs(name, model): target for model, target in part.target_sparsities().items()}
            lost = {
                before + differs: None if first is None or then is None else round(first + then - first * then, 12)
                for before, first in lost.items()
                for differs, then in targets.items()
            }
        return {self.name + differs: sparsity for differs, sparsity in lost.items()}

    def compress(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Compress with each part in turn, or resume; see `bench.contracts.Compressor`.

        Every model of a part goes through the later parts. Finished models are kept in ``workdir``, with the files that
        the parts store next to them.
        """
        from bench.upstream.checkpoint import weights_hash

        identity = {
            "compressor": self.name,
            "configuration": self.config.model_dump(mode="json"),
            "seed": context.seed,
            "teacher": weights_hash(teacher),
            "audio": audio.model_dump(mode="json"),
        }
        if context.start:
            identity["start"] = weights_hash(context.start.model)
        claim_folder(workdir, identity)
        work = Work(self._parts, teacher, audio, workdir, context)
        folders = self.made.folders
        for num_parts in range(self.made.num_parts + 1, len(self._parts)):
            folders = work.kept(num_parts, folders)
        return {self.name + differs: model for differs, model in work.models(len(self._parts), folders)}


@cache
def _stack_type(name: str) -> type[Stack]:
    parts = compressor_parts(name)
    fields: dict[str, Any] = {
        part: (plugin.config_type, Field(description=f"Settings of {part}.")) for part, plugin in parts.items()
    }
    config_type = create_model("StackConfig", __base__=StackConfig, __doc__=StackConfig.__doc__, **fields)
    shared = set.intersection(*(set(plugin.presets) for plugin in parts.values()))
    presets = {
        preset: config_type(**{part: plugin.presets[preset] for part, plugin in parts.items()})
        for preset in sorted(shared)
    }
    members = {
        "name": name,
        "summary": ", then ".join(parts),
        "part_types": parts,
        "config_type": config_type,
        "presets": presets,
    }
    return type("Stack", (Stack,), members)
