"""The interface of a downstream task."""

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
    is_ratio_of_counts: bool = True
    """Whether it is the ratio of the predictions' summed counts. Others, such as an equal error rate, have no counts:
    comparisons of models only use the scores of the seeds."""


@dataclass(frozen=True)
class SplitSize:
    """Size of one split."""

    num_utterances: int
    duration_s: float
    """Total duration."""


@dataclass(frozen=True)
class SuperbStandard:
    """How SUPERB trains and tests a task. Only scores of this setting are comparable with its leaderboard."""

    total_steps: int
    """Updates of the head; 0 if there is none."""
    num_test_utterances: int | Mapping[str, int]
    """Size of SUPERB's test set, or of each fold's if there are several."""
    num_train_utterances: int | None = None
    """Size of SUPERB's training set. None if the recipe samples or splits it."""
    num_documents: int | None = None
    """Documents that are searched, of a task that searches."""


@runtime_checkable
class DeclaresSuperbStandard(Protocol):
    """Optional class attribute of a SUPERB task."""

    superb_standard: ClassVar[SuperbStandard]


@dataclass(frozen=True)
class Evaluation:
    """Scores and predictions of one upstream on a task."""

    scores: Mapping[str, Mapping[str, float]]
    """Split (``test``, ``dev``) to metric name to value."""
    predictions: Sequence[Mapping[str, Any]]
    """One row per utterance (or trial): id, split, reference, prediction, correct, counts, duration_s, other columns of
    the data.

    ``counts`` maps every metric with `Metric.is_ratio_of_counts` to the utterance's ``[numerator, denominator]``. A
    split's score is the sum of its numerators divided by the sum of its denominators, to 1e-9. Comparisons of models
    use them.
    """
    settings: Mapping[str, Any]
    """Settings that the recipe used (steps, learning rate, batch size), as plain values."""


class Task(Protocol):
    """A downstream task; an entry point of the group ``bench.tasks``."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line that names the corpus and the recipe."""
    metrics: ClassVar[tuple[Metric, ...]]
    config_type: ClassVar[type[Settings]]
    layouts: ClassVar[Mapping[str, type[Settings]]]
    """Layouts of the task's entry in a data YAML: name to fields, including ``layout`` with the name as its default. An
    entry without ``layout`` has the first one, or ``manifest`` if it has the key ``manifest``. ``pathlib.Path`` fields
    are resolved against the YAML's folder.
    """
    presets: ClassVar[Mapping[str, Settings]]

    def __init__(self, config: Any) -> None:
        """Store the configuration, an instance of ``config_type``, and do nothing else."""
        ...

    def check(self, data: Any) -> Mapping[str, SplitSize]:
        """Refuse a corpus that is missing, incomplete, contradictory or not 16 kHz, before anything runs.

        One object serves all models and seeds of a run, so `check` may keep what it reads for `evaluate`.

        Args:
            data: an instance of one of the ``layouts``.

        Returns:
            Sizes of the splits: ``train``, ``dev`` and ``test``, or the parts that folds are made of.

        Raises:
            UserError: names what is missing, and where.
        """
        ...

    def evaluate(self, upstream: Upstream, data: Any, workdir: Path, context: Context) -> Evaluation:
        """Train the downstream head on the frozen upstream and score it.

        After an interruption, the same call with the same ``workdir`` resumes.

        Raises:
            UserError: the data turned out to be unusable.
        """
        ...


@runtime_checkable
class FingerprintsData(Protocol):
    """Optional method of a task, so that results on changed labels or audio are never mixed."""

    def fingerprint(self, data: Any) -> str:
        """Hash everything in a corpus that scores depend on: ids, labels and audio, but not the files' locations.

        Args:
            data: see `Task.check`, which is called first.
        """
        ...


@runtime_checkable
class KeepsFeatures(Protocol):
    """Optional method of a task's configuration, if the task stores features on disk."""

    def feature_store(
        self, upstream: Upstream, weights: str, sizes: Mapping[str, SplitSize], context: Context
    ) -> tuple[Path, int]:
        """Return where the features are stored and their largest size, so that a run can announce it beforehand.

        Args:
            upstream: the model, or one of its shape.
            weights: hash of the model's weights, see `bench.upstream.checkpoint.weights_hash`.
            sizes: the result of the task's ``check``.
            context: context of the evaluation.

        Returns:
            The folder, which need not exist and may serve several tasks, and the size in bytes.
        """
        ...
