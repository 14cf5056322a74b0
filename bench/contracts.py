"""What plug-ins and the application agree on: protocols and small shared types.

A compressor turns a teacher upstream into smaller upstreams; a task scores an upstream; corpora name the audio
that both hear. Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self

    from bench.upstream import UpstreamConfig, UpstreamModel


LARGEST_NUMBER = 2**53
"""Larger whole numbers are refused in settings: they are mistakes, and a float cannot hold them."""


class Settings(BaseModel):
    """Base of every typed configuration: frozen, unknown keys are errors, field docstrings are its help.

    Numbers are finite. ``1e4`` is a whole number; ``5.5``, true and false are none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @classmethod
    def as_kept(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Complete settings that an earlier version kept with what it did without saying so: here, nothing."""
        return dict(settings)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        for item in value if isinstance(value, list | tuple) else [value]:
            annotation: Any = cls.model_fields[info.field_name or ""].annotation
            if isinstance(item, bool) and not _takes_booleans(annotation):
                raise ValueError(f"true and false do not belong here (found {item})")
            if isinstance(item, int) and abs(item) > LARGEST_NUMBER:
                raise ValueError(f"no number here is larger than {LARGEST_NUMBER}")
        return value

    def fields_without_effect(self) -> Collection[str]:
        """Name the fields that the others make void: no record holds them, and compressors' ``--set`` refuses them."""
        return ()

    @model_serializer(mode="wrap")
    def _fields_of_effect(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        void = self.fields_without_effect()
        values: dict[str, Any] = handler(self)
        return {field: value for field, value in values.items() if field not in void}


@cache
def _takes_booleans(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_takes_booleans(part) for part in get_args(annotation))


@runtime_checkable
class Upstream(Protocol):
    """A frozen speech representation that tasks evaluate: any ``torch.nn.Module`` with these members."""

    stride: int
    """Samples between two frames at 16 kHz: 320 for HuBERT and its kin, 160 for fbank."""
    num_layers: int
    """Transformer layers; a forward pass returns ``num_layers + 1`` hidden states."""
    dim: int
    """Width of every hidden state."""

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Compute SUPERB's hidden states.

        Args:
            waveforms: (batch, samples) float32 at 16 kHz, zero-padded.
            lengths: (batch,) valid samples of each utterance.

        Returns:
            ``num_layers + 1`` tensors (batch, frames, dim), and the valid frames of each utterance (batch,).
        """
        ...


FeatureProtocol = Literal["cached", "s3prl"]
"""How a task gets an upstream's features. ``cached``: once an utterance, alone and unpadded, kept on disk and reused
over steps, learning rates, seeds and tasks. ``s3prl``: at every step anew, in the recipe's own padded batches."""


@dataclass(frozen=True)
class WarmStart:
    """An existing model that a compression goes on from, such as last month's."""

    model: UpstreamModel
    """Which stays as it is."""
    folder: Path | None = None
    """With the files that lie beside its weights, where it is a suite folder."""


@dataclass(frozen=True)
class Context:
    """Where and how a compressor or a task runs."""

    seed: int = 0
    """Seeds everything random in the call."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Already resolved and known to exist."""
    protocol: FeatureProtocol = "cached"
    """How a task gets its features."""
    model: str = ""
    """Name of the row that a task evaluates, for people who look at what it keeps."""
    cache_limit_bytes: int | None = None
    """The most that all cached features may hold together; None is no limit but the disk's."""
    shared_workdir: Path | None = None
    """Where a task keeps what all seeds of one model share, such as a learning rate it has searched; claims guard it
    from processes that run other seeds. None: nothing is shared."""
    start: WarmStart | None = None
    """What a compressor whose settings are `WarmStarting` goes on from. None: it begins from the teacher."""


class AudioSource(Settings):
    """The audio that compression hears: training speech, no labels."""

    layout: Literal["librispeech", "folder", "manifest"] = "folder"
    """``librispeech`` and ``folder`` search ``root``; ``manifest`` reads a CSV or JSON-lines file with ``path``, and is
    the default where ``manifest`` names one."""
    root: Path | None = None
    """Folder with the audio (``librispeech``, ``folder``)."""
    manifest: Path | None = None
    """CSV or JSON-lines file with a column ``path``, relative to the file (``manifest``)."""
    splits: tuple[str, ...] = ()
    """Sub-folders of ``root``, or values of the manifest's column ``split``. Empty takes what is for training:
    ``train-*`` of LibriSpeech, ``train`` of a manifest that has splits, all of a folder."""
    resample: bool = False
    """Resample files of another rate to 16 kHz; otherwise they are refused."""
    hours: float | None = Field(default=None, gt=0)
    """Hear no more than so many hours: utterances drawn at random, the fewer of which are among the more. None: all."""
    hours_seed: int = 0
    """Of the draw."""

    @model_validator(mode="before")
    @classmethod
    def _manifest_is_a_layout(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("manifest") and not {"layout", "root"} & values.keys():
            return {**values, "layout": "manifest"}
        return values


class Data(Settings):
    """One ``--data`` choice, resolved: every path absolute."""

    name: str
    """``mini``, or the stem of the YAML file."""
    embedded: str = ""
    """Name of the embedded corpora that make the audio where it is missing. Empty: nothing is ever made."""
    version: str = ""
    """Identity of embedded corpora: generator version and seed. Empty for the user's own."""
    audio_sha256: dict[str, str] = Field(default_factory=dict)
    """Hash of each task's audio, where embedded corpora know it: one version may differ in bits between machines."""
    resample: bool = False
    """Resample all audio to 16 kHz where it has another rate; otherwise such audio is refused."""
    hours: float | None = Field(default=None, gt=0)
    """How much of the audio compression hears, see `AudioSource.hours`."""
    audio: AudioSource | None = None
    """What compression hears."""
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Each task's entry; its fields are those of one of the task's own ``layouts``."""

    @property
    def identity(self) -> str:
        """Name the corpora in a record: embedded ones with their version."""
        return f"{self.name}-{self.version}" if self.version else self.name


class Corpora(Protocol):
    """Embedded corpora, chosen by name with ``--data`` (entry-point group ``bench.corpora``)."""

    def data(self) -> Data:
        """Say where the corpora are or will be, and which version they are; makes nothing."""
        ...

    def prepare(self, tasks: Collection[str] | None = None) -> Data:
        """Make what is missing for these tasks, by default for all, with progress on standard error."""
        ...


@dataclass(frozen=True)
class Metric:
    """One figure a task yields, a fraction (0.123 is 12.3 %)."""

    name: str
    """As in the leaderboard's column ``<task>_<name>``, e.g. ``wer``."""
    higher_is_better: bool
    primary: bool = False
    """The metric of SUPERB's public leaderboard; one task may have several."""


@dataclass(frozen=True)
class SplitSize:
    """How much there is of one split."""

    num_utterances: int
    duration_s: float
    """Of all of them together."""


@runtime_checkable
class FingerprintsData(Protocol):
    """What a task may have in addition to its methods, so that results on changed labels or audio are never mixed."""

    def fingerprint(self, data: Any) -> str:
        """Hash all of a corpus that scores depend on: ids, labels and audio, but not where the files are.

        Args:
            data: as for `Task.check`, which was called before.
        """
        ...


@runtime_checkable
class KeepsFeatures(Protocol):
    """What the configuration of a task may have beside its settings, where the task keeps features on disk."""

    def feature_store(
        self, upstream: Upstream, weights: str, sizes: Mapping[str, SplitSize], context: Context
    ) -> tuple[Path, int]:
        """Say where the features are kept and how many bytes they take at most, so that a run can say it beforehand.

        Args:
            upstream: the model, or one of its shape.
            weights: hash of the model's weights, see `bench.upstream.checkpoint.weights_hash`.
            sizes: what the task's ``check`` returned.
            context: of the evaluation.

        Returns:
            The folder, which need not exist and may serve several tasks, and the size.
        """
        ...


@dataclass(frozen=True)
class Evaluation:
    """What a task found out about one upstream."""

    scores: Mapping[str, Mapping[str, float]]
    """Split (``test``, ``dev``) to metric name to value."""
    predictions: Sequence[Mapping[str, Any]]
    """One row an utterance: id, split, reference, prediction, correct, counts, duration_s, further columns of the data.

    ``counts`` maps every metric to the utterance's ``[numerator, denominator]``: over a split, the sum of the
    numerators by the sum of the denominators is the score, to 1e-9. Models are compared by them."""
    settings: Mapping[str, Any]
    """What the recipe really used (steps, learning rate, batch size), as plain values."""


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


class Task(Protocol):
    """A downstream task; an entry point of the group ``bench.tasks``."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line with the corpus and the recipe."""
    metrics: ClassVar[tuple[Metric, ...]]
    config_type: ClassVar[type[Settings]]
    layouts: ClassVar[Mapping[str, type[Settings]]]
    """What an entry of the task in a data YAML may be: name of a layout to its fields, of which one is ``layout``, that
    very name by default. The first is meant where an entry names none; an entry with the key ``manifest`` and no
    ``layout`` means the layout ``manifest``. ``pathlib.Path`` fields are resolved against the YAML's folder."""
    presets: ClassVar[Mapping[str, Settings]]

    def __init__(self, config: Any) -> None:
        """Keep the configuration, an instance of ``config_type``; nothing else happens here."""
        ...

    def check(self, data: Any) -> Mapping[str, SplitSize]:
        """Refuse a corpus that is missing, incomplete, contradictory or not 16 kHz, before anything runs.

        One object serves all models and seeds of a run, so what is read here may be kept for `evaluate`.

        Args:
            data: an instance of one of the ``layouts``.

        Returns:
            What is there, by split: ``train``, ``dev`` and ``test``, or the parts that folds are made of.

        Raises:
            UserError: what is missing, and where.
        """
        ...

    def evaluate(self, upstream: Upstream, data: Any, workdir: Path, context: Context) -> Evaluation:
        """Train the downstream head on the frozen upstream and score it.

        Interrupted, the same call with the same ``workdir`` goes on where it was.

        Raises:
            UserError: the data turned out to be unusable.
        """
        ...
