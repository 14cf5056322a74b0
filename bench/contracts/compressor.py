"""What a compressor provides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from bench.contracts.context import Context
from bench.contracts.data import AudioSource
from bench.contracts.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Self

    from bench.upstream import UpstreamConfig, UpstreamModel


class Compressor(Protocol):
    """A method that makes smaller upstreams from a teacher; an entry point of the group ``bench.compressors``."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line with the paper."""
    config_type: ClassVar[type[Settings]]
    presets: ClassVar[Mapping[str, Settings]]
    """``paper``, ``mini`` and ``smoke`` at least; instances of ``config_type``."""

    def __init__(self, config: Any) -> None:
        """Keep the configuration, an instance of ``config_type``; nothing else happens here."""
        ...

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse what cannot work, before any long work.

        Raises:
            UserError: unusable audio, an unreachable sparsity, a teacher of the wrong shape, a precision that the
                device does not have.
        """
        ...

    def compress(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Make one model, named like the compressor, or several, named ``<compressor>-<what differs>``.

        The same call with the same seed gives the same model (CPU). Interrupted, the same call with the same
        ``workdir`` goes on where it was. Files left in ``workdir / "beside" / <model name>`` are kept beside
        that model's weights. The teacher is left as it was.

        Raises:
            UserError: ``workdir`` holds other work, of another configuration, seed or teacher.
        """
        ...


@runtime_checkable
class ComparableTraining(Protocol):
    """What the configuration of a compressor may have beside its settings, so that a sweep can train all alike."""

    def num_updates(self) -> int:
        """Count the optimiser updates of all its training."""
        ...

    def with_num_updates(self, num_updates: int) -> Self:
        """Return the same recipe in so many updates: stages, warm-up and ramps are stretched or shortened alike.

        Raises:
            UserError: too few for the recipe.
        """
        ...

    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of all its training: forward passes, and twice as many backward through what is trained."""
        ...


@runtime_checkable
class WarmStarting(Protocol):
    """What the configuration of a compressor may have beside its settings, where it can go on from `Context.start`."""

    def warm_started(self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]) -> Self:
        """Return the recipe for going on from a model: about a tenth of the updates, in its own shape or smaller.

        Args:
            start: shape of the model.
            teacher: shape of what it learns from.
            chosen: settings that the user has set and that stay, dotted such as ``final.updates``.

        Raises:
            UserError: the method cannot go on from that shape, or not to the size that is chosen.
        """
        ...


@runtime_checkable
class SeveralSizes(Protocol):
    """What a compressor may have beside its methods, where one call may make a model at each of several sizes.

    Also where its one model has another size than the settings ``sparsity`` and ``params`` tell.
    """

    def target_sparsities(self) -> Mapping[str, float | None]:
        """Tell what share of the teacher each model of a call shall lose, by its name; None where nobody knows.

        Empty where the call makes a single one, of the size that its settings tell.
        """
        ...


@runtime_checkable
class ChecksAhead(Protocol):
    """What a compressor may have beside its `check`, for stacks such as ``dphubert+int8``, where others come first.

    What it will compress is not made yet; `check` is called once it is.
    """

    def check_ahead(self, first_teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse what cannot work whatever the size of the teacher, before any long work.

        Args:
            first_teacher: what the stack's first part compresses.
            audio: as for `check`.
            context: as for `check`.

        Raises:
            UserError: unusable audio, a precision or kernels that the device does not have.
        """
        ...


@runtime_checkable
class ReducesLinears(Protocol):
    """What a compressor has beside its methods whose models have low-rank or int8 linear layers.

    In a stack, only those parts can follow it that take such layers.
    """

    takes_reduced_linears: ClassVar[bool]
    """Whether it compresses what another one of its kind has made."""
