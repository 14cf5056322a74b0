"""The interface of a compressor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from bench.contracts.context import Context
from bench.contracts.data import AudioSource
from bench.contracts.settings import Settings
from bench.contracts.work import TrainingWork
from bench.errors import UserError

if TYPE_CHECKING:
    from typing_extensions import Self

    from bench.upstream import UpstreamConfig, UpstreamModel


class Compressor(ABC):
    """A method that makes smaller upstreams from a teacher; an entry point of the group ``bench.compressors``.

    A method defines the class variables, `check` and `compress`. The other methods have defaults.
    """

    name: ClassVar[str]
    """Name of the entry point."""
    summary: ClassVar[str]
    """One line that names the paper."""
    config_type: ClassVar[type[Settings]]
    presets: ClassVar[Mapping[str, Settings]]
    """At least ``paper``, ``mini`` and ``smoke``, as instances of ``config_type``."""
    makes_reduced_linears: ClassVar[bool] = False
    """Whether its models have low-rank or int8 linear layers."""
    takes_reduced_linears: ClassVar[bool] = False
    """Whether it compresses models with such layers. Otherwise it cannot follow a part of a stack that makes them."""

    config: Any
    """Its settings, an instance of ``config_type``."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse impossible work before any long work starts.

        Raises:
            UserError: unusable audio, an unreachable sparsity, a teacher of the wrong shape, or a precision that the
                device does not support.
        """

    @abstractmethod
    def compress(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Make one model, named like the compressor, or several, named ``<compressor>-<what differs>``.

        On a CPU, the same call with the same seed makes the same model. After an interruption, the same call with the
        same ``workdir`` resumes. Files in ``workdir / "beside" / <model name>`` are stored with that model's weights.
        The teacher is not changed.

        Raises:
            UserError: ``workdir`` holds work of another configuration, seed or teacher.
        """

    def check_ahead(  # noqa: B027 - most methods have nothing to add
        self, first_teacher: UpstreamModel, audio: AudioSource, context: Context
    ) -> None:
        """Refuse work that is impossible for every size of teacher, if this is a later part of a stack.

        The model to compress does not exist yet. `check` is called once it does.

        Args:
            first_teacher: the model that the stack's first part compresses.
            audio: see `check`.
            context: see `check`.

        Raises:
            UserError: unusable audio, or a precision or kernels that the device does not support.
        """

    def numerics(self, context: Context) -> Mapping[str, Any]:
        """Return how the compressor computes on a device, such as its precision. The model's provenance records it."""
        return {"device": context.device}

    def uses_devices(self) -> bool:
        """Whether `compress` trains on several devices at once, `Context.devices`. Default: it uses one."""
        return False

    def tasks_learned(self) -> Collection[str]:
        """Name the tasks whose losses `compress` needs in `Context.task_losses`. Default: none."""
        return ()

    def target_sparsities(self) -> Mapping[str, float | None]:
        """Return the share of the teacher to remove in each model of a call, by the model's name.

        None if the share is not known beforehand. Default: one model, with the setting ``sparsity``.
        """
        return {self.name: target_sparsity(self.config.model_dump(mode="json"))}

    def training_work(self, teacher: UpstreamConfig) -> TrainingWork | None:
        """Estimate the work of `compress`. None: unknown. Default: what `ComparableTraining` declares, if it is there.

        Args:
            teacher: shape of the teacher.

        Raises:
            UserError: the teacher cannot be made as small as asked for.
        """
        if not isinstance(self.config, ComparableTraining):
            return None
        return TrainingWork(self.config.num_updates(), self.config.training_macs(teacher), audio_s=None)

    def warm_started(self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]) -> Settings:  # noqa: ARG002 - the default refuses every model
        """Return the settings for a warm start from `Context.start`, with about a tenth of the updates.

        The model keeps its shape, or becomes smaller if ``chosen`` asks for it.

        Args:
            start: shape of the model to start from.
            teacher: shape of the teacher.
            chosen: settings that the user has set and that stay, dotted such as ``final.updates``.

        Raises:
            UserError: the method has no warm start, or none from that shape or to the chosen size.
        """
        raise UserError(f"--from: {self.name} has no warm start. Leave it or --from out.")


def target_sparsity(settings: Mapping[str, Any], teacher_params: int | None = None) -> float | None:
    """Return the share of the teacher's parameters to remove, from the settings that our methods share.

    Args:
        settings: settings of one compressor. A plug-in may use the same names with other types.
        teacher_params: number of the teacher's parameters, if known.
    """
    params, sparsity = settings.get("params"), settings.get("sparsity")
    if params is not None:
        return 1 - params / teacher_params if isinstance(params, int) and teacher_params else None
    return sparsity if isinstance(sparsity, float) and settings.get("target", "params") == "params" else None


@runtime_checkable
class ComparableTraining(Protocol):
    """Optional methods of a compressor's configuration, which let a sweep give all methods equal training."""

    def num_updates(self) -> int:
        """Count the optimiser updates of the whole training."""
        ...

    def with_num_updates(self, num_updates: int) -> Self:
        """Return the same recipe with this number of updates. Stages, warm-up and ramps are scaled alike.

        Raises:
            UserError: too few for the recipe.
        """
        ...

    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of the whole training: forward passes, and twice as many backward through trained parts."""
        ...
