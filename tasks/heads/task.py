"""The base class of the suite's tasks: read and check a corpus, train a head with s3prl's recipe, score it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import pandas as pd

from bench.contracts import Context, Evaluation, Metric, Settings, SplitSize, TaskLoss, Upstream
from bench.errors import UserError
from tasks.corpora.corpus_hash import corpus_folder, corpus_sha256
from tasks.corpora.splits import split_sizes
from tasks.heads.config import HeadConfig
from tasks.heads.evaluate_head import Head, evaluate_head
from tasks.metrics.counts import Counts, ratios

if TYPE_CHECKING:
    from tasks.bridge.run import RecipeResult

Config = TypeVar("Config", bound=HeadConfig)
Data = TypeVar("Data", bound=Settings)


class HeadTask(ABC, Generic[Config, Data]):
    """A downstream head on a frozen upstream, trained with an s3prl recipe and scored on all of dev and test.

    A subclass sets the class variables, reads its corpus (`read`) and computes each utterance's contribution to the
    metrics (`counts`). Tasks of other packages may implement `bench.contracts.Task` without this class.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    """The learning-rate search uses the first one."""
    config_type: ClassVar[type[Settings]]
    layouts: ClassVar[Mapping[str, type[Settings]]]
    presets: ClassVar[Mapping[str, Settings]]
    recipe: ClassVar[tuple[str, str]]
    """Module and class in s3prl."""
    balance: ClassVar[str]
    """Column by which subsets are stratified: class or speaker."""

    def __init__(self, config: Config) -> None:
        """Keep the configuration."""
        self._config = config
        self._checked: dict[Data, dict[str, pd.DataFrame]] = {}

    @abstractmethod
    def read(self, data: Data) -> dict[str, pd.DataFrame]:
        """Read and check the corpus.

        Returns:
            Tables ``train``, ``dev`` and ``test``, see `tasks.bridge.recipe.Splits`.

        Raises:
            UserError: something is missing, unreadable or contradictory.
        """

    @staticmethod
    @abstractmethod
    def counts(reference: str, prediction: str) -> Counts:
        """Compute an utterance's contribution to every metric, see `tasks.metrics.counts`."""

    def check(self, data: Data) -> dict[str, SplitSize]:
        """Refuse a corpus that is missing, incomplete, contradictory, unreadable or not 16 kHz.

        Returns:
            The size of each table of `read`.

        Raises:
            UserError: something is missing or unusable.
        """
        # Find a broken s3prl installation here, before compression.
        import tasks.bridge.run  # noqa: F401

        return self.sizes(data)

    def sizes(self, data: Data) -> dict[str, SplitSize]:
        """Check the corpus alone, without s3prl; see `bench.contracts.MeasuresData`.

        The tables are kept for `evaluate`: listing a large corpus and reading its headers takes minutes.
        """
        self._checked[data] = self.read(data)
        return split_sizes(self._checked[data])

    def fingerprint(self, data: Data) -> str:
        """Hash the corpus: utterances, labels and audio; see `bench.contracts.FingerprintsData`."""
        return corpus_sha256(self.checked(data), corpus_folder(data), {self.balance})

    def checked(self, data: Data) -> dict[str, pd.DataFrame]:
        """Return the tables that `check` has read, or read them now."""
        return self._checked[data] if data in self._checked else self.read(data)

    def task_loss(self, data: Data) -> TaskLoss:
        """Return the loss on the training split; see `bench.contracts.OffersTaskLoss`.

        Raises:
            UserError: the task offers no loss, or the corpus has no training split of its own.
        """
        corpus = self.checked(data)
        if "train" not in corpus:
            raise UserError(
                f"Expected a training split for task_loss={self.name}. Found folds, each of which tests on others' "
                "training data. Choose another task, or a corpus with one split."
            )
        return self.loss_of(self._config.limited({"train": corpus["train"]}, by=self.balance)["train"])

    def loss_of(self, table: pd.DataFrame) -> TaskLoss:
        """Return the loss of a table of training utterances. By default, that of the column ``label``.

        Raises:
            UserError: the task offers no loss.
        """
        if "label" not in table:
            raise UserError(f"Expected a task with a training loss in task_loss. Found {self.name}. Choose another.")
        # Imports torch, which listing tasks does not need.
        from tasks.heads.task_loss import label_loss

        return label_loss(self.name, table, [(str(label),) for label in table["label"]])

    def evaluate(self, upstream: Upstream, data: Data, workdir: Path, context: Context) -> Evaluation:
        """Train the head and score it on the whole dev and test sets.

        Raises:
            UserError: the corpus is unusable, or an audio file is damaged or not finite.
        """
        corpus = self.checked(data)
        train = partial(self.train, upstream, corpus)
        together = partial(self.train_together, upstream, corpus)
        return evaluate_head(train, together, self._config, self.metrics[0], upstream, corpus, workdir, context)

    def train(
        self,
        upstream: Upstream,
        corpus: Mapping[str, pd.DataFrame],
        config: Config,
        workdir: Path,
        context: Context,
        scored: Sequence[str],
    ) -> Evaluation:
        """Train a head at a given learning rate, and score it on some splits.

        Args:
            upstream: the frozen model.
            corpus: tables ``train``, ``dev`` and ``test``.
            config: settings of the head.
            workdir: folder for checkpoints.
            context: seed, device and protocol.
            scored: ``dev`` and ``test``, or ``dev`` alone.
        """
        # Imports torch and s3prl, which listing tasks does not need.
        from tasks.bridge.run import run_recipe

        result = run_recipe(
            self.recipe,
            config.recipe_arguments(),
            config.limited(corpus, by=self.balance),
            upstream,
            workdir,
            context,
            features=config.feature_choice(context.device),
            counts=self.counts,
            scored=scored,
        )
        return self.score(result)

    def train_together(
        self, upstream: Upstream, corpus: Mapping[str, pd.DataFrame], heads: Sequence[Head[Config]]
    ) -> None:
        """Train heads at once that differ in learning rate and seed, so that `train` finds finished trainings.

        Args:
            upstream: the frozen model.
            corpus: tables ``train``, ``dev`` and ``test``.
            heads: at least one, with the features ``means`` and the protocol ``cached``.
        """
        from tasks.bridge.run import HeadToTrain, train_together

        config, context = heads[0].config, heads[0].context
        train_together(
            self.recipe,
            config.limited(corpus, by=self.balance),
            upstream,
            [HeadToTrain(head.config.recipe_arguments(), head.workdir, head.context) for head in heads],
            features=config.feature_choice(context.device),
        )

    def score(self, result: RecipeResult) -> Evaluation:
        """Score the predictions: by default, each metric is the ratio of the summed counts."""
        scores = {split: ratios(rows) for split, rows in result.predictions_by_split().items()}
        return Evaluation(scores=scores, predictions=result.predictions, settings=result.settings)
