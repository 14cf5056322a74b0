"""Stacks of compressors, ``dphubert+int8``: each part compresses what the part before it has made.

A stack is a `bench.contracts.Compressor` like any other, made out of plug-ins that know nothing of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, create_model
from typing_extensions import Self

from bench import registry
from bench.contracts import (
    AudioSource,
    ChecksAhead,
    ComparableTraining,
    Compressor,
    Context,
    ReducesLinears,
    Settings,
    SeveralSizes,
)
from bench.errors import UserError
from bench.store.claims import claim_folder

if TYPE_CHECKING:
    from bench.upstream import UpstreamConfig, UpstreamModel

SEPARATOR = "+"


def part_names(name: str) -> tuple[str, ...]:
    """Split the name of a stack; a compressor that is none is its own only part.

    Raises:
        UserError: a part is missing or there twice.
    """
    parts = tuple(name.split(SEPARATOR))
    if not all(parts):
        raise UserError(f"Expected compressors joined by {SEPARATOR}, such as dphubert{SEPARATOR}int8. Found {name!r}.")
    if len(set(parts)) < len(parts):
        raise UserError(f"The compressor {name!r} has one part twice. Keep one of them.")
    return parts


def what_differs(compressor: str, made: str) -> str:
    """Return what the name of a model adds to that of the compressor that made it; empty for an only model.

    Raises:
        UserError: it has another name.
    """
    if made != compressor and not made.startswith(f"{compressor}-"):
        raise UserError(
            f"The compressor {compressor} made a model {made!r}. "
            f"Expected {compressor!r} or a name beginning {compressor}-."
        )
    return made.removeprefix(compressor)


def by_part(compressor: str, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the settings of each part, of which a compressor that is no stack has one."""
    parts = part_names(compressor)
    return settings if len(parts) > 1 else {parts[0]: settings}


def joined(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of a compressor out of those of its parts, the reverse of `by_part`."""
    return dict(settings if len(settings) > 1 else next(iter(settings.values())))


def compressor_parts(name: str) -> dict[str, type[Any]]:
    """Import a compressor, or the parts of a stack in their order.

    Raises:
        UserError: a part is no plug-in, cannot be imported, or cannot compress what another before it makes.
    """
    parts: dict[str, type[Any]] = {part: registry.load("bench.compressors", part) for part in part_names(name)}
    reducing = ""
    for part, plugin in parts.items():
        is_reducing = isinstance(plugin, ReducesLinears)
        if reducing and not (is_reducing and plugin.takes_reduced_linears):
            raise UserError(
                f"--compressor {name}: {part} cannot compress the reduced linear layers that {reducing} makes. "
                f"Write {part} before {reducing}."
            )
        reducing = part if is_reducing else reducing
    return parts


def compressor_type(name: str) -> type[Any]:
    """Import a compressor, or make one out of the parts of a stack.

    Raises:
        UserError: as `compressor_parts`.
    """
    parts = compressor_parts(name)
    return _stack_type(name) if len(parts) > 1 else parts[name]


class StackConfig(Settings):
    """Settings of a stack: one field a part, by its name."""

    def num_updates(self) -> int:
        """Count the optimiser updates of all parts that train; see `bench.contracts.ComparableTraining`."""
        return sum(recipe.num_updates() for recipe in self._trained().values())

    def with_num_updates(self, num_updates: int) -> Self:
        """Return the same stack in so many updates; all parts that train are stretched or shortened alike.

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
        """Estimate the MACs of all training, of every part as if its own teacher had the first one's size."""
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
    """What a stack need not make, for it is there: the models of its leading parts."""

    num_parts: int = 0
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Of each model, by what its name adds to that of the parts, see `what_differs`."""


class Stack:
    """Base of all stacks, whose types `compressor_type` makes."""

    name: ClassVar[str]
    summary: ClassVar[str]
    part_types: ClassVar[Mapping[str, type[Any]]]
    config_type: ClassVar[type[Settings]]
    presets: ClassVar[Mapping[str, Settings]]

    def __init__(self, config: Any, made: PartsMade | None = None) -> None:
        self.config = config
        self.made = made or PartsMade()
        self._parts: dict[str, Compressor] = {
            name: part(getattr(config, name)) for name, part in self.part_types.items()
        }

    def beginning_with(self, made: PartsMade) -> Stack:
        """Return the same stack, which does not make what is there."""
        return type(self)(self.config, made)

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse what cannot work, before any long work; of further parts what `bench.contracts.ChecksAhead` tells.

        Raises:
            UserError: a part refuses.
        """
        for number, (name, part) in enumerate(self._parts.items()):
            with _told_by(name):
                if number == 0:
                    part.check(teacher, audio, context)
                elif isinstance(part, ChecksAhead):
                    part.check_ahead(teacher, audio, context)

    def target_sparsities(self) -> dict[str, float | None]:
        """Tell what each model aims at, of what the first part compresses; see `bench.contracts.SeveralSizes`."""
        lost: dict[str, float | None] = {"": 0.0}
        for name, part in self._parts.items():
            own = _own_targets(name, part, getattr(self.config, name))
            lost = {
                before + differs: None if first is None or then is None else round(first + then - first * then, 12)
                for before, first in lost.items()
                for differs, then in own.items()
            }
        return {self.name + differs: sparsity for differs, sparsity in lost.items()}

    def compress(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Let all parts compress in turn, or what is left of them; see `bench.contracts.Compressor`.

        Every model of a part goes through the further parts. What a part has finished is kept in ``workdir``, and with
        the models all files that the parts have left beside theirs.
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
        work = _Work(self._parts, teacher, audio, workdir, context)
        folders = self.made.folders
        for num_parts in range(self.made.num_parts + 1, len(self._parts)):
            folders = work.kept(num_parts, folders)
        return {self.name + differs: model for differs, model in work.models(len(self._parts), folders)}


@dataclass(frozen=True)
class _Work:
    """One call of a stack."""

    parts: Mapping[str, Compressor]
    teacher: UpstreamModel
    audio: AudioSource
    workdir: Path
    context: Context

    def kept(self, num_parts: int, before: Mapping[str, Path]) -> dict[str, Path]:
        """Return the models of the first so many parts in folders, made if they are not there.

        Args:
            num_parts: 1 at least.
            before: the models of one part less; of none, for the teacher.
        """
        from bench.upstream.checkpoint import save_upstream

        chain = self._chain(num_parts)
        folder = self.workdir / "parts" / chain
        if not folder.exists():
            # All models of a part appear at once.
            unfinished = folder.with_name(f".{chain}")
            shutil.rmtree(unfinished, ignore_errors=True)
            for differs, model in self.models(num_parts, before):
                beside = self._beside(num_parts, differs)
                files = sorted(beside.iterdir()) if beside.is_dir() else []
                save_upstream(model.cpu(), unfinished / (chain + differs), provenance={}, beside=files)
            unfinished.replace(folder)
            shutil.rmtree(self.workdir / "checkpoints", ignore_errors=True)
        return {what_differs(chain, model.name): model for model in sorted(folder.iterdir())}

    def models(self, num_parts: int, before: Mapping[str, Path]) -> Iterator[tuple[str, UpstreamModel]]:
        """Make the models of the first so many parts out of those of one part less, with what their names add."""
        from bench.upstream.checkpoint import load_folder

        name = list(self.parts)[num_parts - 1]
        part = self.parts[name]
        for differs, folder in before.items() if num_parts > 1 else [("", None)]:
            workdir = self.workdir / "checkpoints" / (self._chain(num_parts) + differs)
            workdir.mkdir(parents=True, exist_ok=True)
            # From the disk even where it was just made, so that a call that goes on has the same to start from.
            teacher = load_folder(folder) if folder else self.teacher
            # What there is to go on from is the first part's.
            context = replace(self.context, start=None) if folder else self.context
            with _told_by(name):
                if folder:
                    part.check(teacher, self.audio, context)
                for made, model in part.compress(teacher, self.audio, workdir, context).items():
                    also_differs = what_differs(name, made)
                    self._leave_beside(num_parts, differs + also_differs, workdir / "beside" / made, folder)
                    yield differs + also_differs, model

    def _leave_beside(self, num_parts: int, differs: str, own: Path, before: Path | None) -> None:
        """Lay the files that a part left for a model beside those of the parts before it, which make way."""
        from bench.upstream.checkpoint import MANIFEST, WEIGHTS

        target = self._beside(num_parts, differs)
        shutil.rmtree(target, ignore_errors=True)
        if own.is_dir():
            shutil.copytree(own, target)
        for file in sorted(before.iterdir()) if before else []:
            if file.name not in (MANIFEST, WEIGHTS):
                target.mkdir(parents=True, exist_ok=True)
                name = f"{list(self.parts)[num_parts - 2]}-{file.name}" if (target / file.name).exists() else file.name
                shutil.copy2(file, target / name)

    def _beside(self, num_parts: int, differs: str) -> Path:
        return self.workdir / "beside" / (self._chain(num_parts) + differs)

    def _chain(self, num_parts: int) -> str:
        return SEPARATOR.join(list(self.parts)[:num_parts])


def _own_targets(name: str, part: Compressor, settings: Settings) -> dict[str, float | None]:
    """Return what a part aims at, of its own teacher, by what the names of its models add."""
    if isinstance(part, SeveralSizes) and (targets := part.target_sparsities()):
        return {what_differs(name, model): target for model, target in targets.items()}
    values = settings.model_dump(mode="json")
    sparsity = values.get("sparsity")
    is_told = isinstance(sparsity, float) and values.get("params") is None and values.get("target") != "macs"
    return {"": sparsity if is_told else None}


@contextmanager
def _told_by(part: str) -> Iterator[None]:
    """Say which part refuses."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{part}: {error}") from error


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
