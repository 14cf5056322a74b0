"""What a downstream task provides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from bench.contracts.context import Context
from bench.contracts.settings import Settings
from bench.contracts.upstream import Upstream


@dataclass(frozen=True)
class Metric:
    """One score of a task, a fraction (0.123 is 12.3 %)."""

    name: str
    """As in the leaderboard's column ``<task>_<name>``, e.g. ``wer``."""
    higher_is_better: bool
    primary: bool = False
    """The metric of SUPERB's public leaderboard; one task may have several."""


@dataclass(frozen=True)
class SplitSize:
    """Size of one split."""

    num_utterances: int
    duration_s: float
    """Total duration."""


@dataclass(frozen=True)
class SuperbStandard:
    """How SUPERB trains and tests a task. Only scores of this setting compare with its leaderboard."""

    total_steps: int
    """Updates of the head."""
    num_test_utterances: int | Mapping[str, int]
    """Size of SUPERB's test set, or of each fold's if there are several."""
    num_train_utterances: int | None = None
    """Size of SUPERB's training set. None if the recipe samples or splits it."""


@runtime_checkable
class DeclaresSuperbStandard(Protocol):
    """An optional class attribute of a task of SUPERB."""

    superb_standard: ClassVar[SuperbStandard]


@dataclass(frozen=True)
class Evaluation:
    """Scores and predictions of one upstream on a task."""

    scores: Mapping[str, Mapping[str, float]]
    """Split (``test``, ``dev``) to metric name to value."""
    predictions: Sequence[Mapping[str, Any]]
    """One row per utterance: id, split, reference, prediction, correct, counts, duration_s, other columns of the data.

    ``counts`` maps every metric to the utterance's ``[numerator, denominator]``: over a split, the sum of the
    numerators by the sum of the denominators is the score, to 1e-9. Models are compared by them."""
    settings: Mapping[str, Any]
    """Settings that the recipe used (steps, learning rate, batch size), as plain values."""


class Task(Protocol):
    """A downstream task; an entry point of the group ``bench.tasks``."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line with the corpus and the recipe."""
    metrics: ClassVar[tuple[Metric, ...]]
    config_type: ClassVar[type[Settings]]
    layouts: ClassVar[Mapping[str, type[Settings]]]
    """Layouts that the task's entry in a data YAML may have: name to fields, one of which is ``layout`` with the name
    as its default. An entry that names none has the first; an entry with the key ``manifest`` and no ``layout`` has
    the layout ``manifest``. ``pathlib.Path`` fields are resolved against the YAML's folder."""
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
