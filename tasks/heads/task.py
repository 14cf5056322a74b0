"""What all tasks of the suite do alike: read, check, limit, train a head by s3prl's recipe, score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import pandas as pd

from bench.contracts import Context, Evaluation, Metric, Settings, SplitSize, Upstream
from tasks.corpora.corpus_hash import corpus_sha256
from tasks.corpora.splits import split_sizes
from tasks.heads.config import HeadConfig
from tasks.heads.evaluate_head import evaluate_head
from tasks.metrics.counts import Counts, ratios

if TYPE_CHECKING:
    from tasks.bridge.run import RecipeResult

Config = TypeVar("Config", bound=HeadConfig)
Data = TypeVar("Data", bound=Settings)


class HeadTask(ABC, Generic[Config, Data]):
    """A downstream head on a frozen upstream, trained by one of s3prl's recipes and scored on all of dev and test.

    A task gives what it is (the class variables), its corpus (`read`) and an utterance's share of its metrics
    (`counts`). This is one way to fulfil `bench.contracts.Task`; tasks of other packages have their own.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    """The first one decides between learning rates."""
    config_type: ClassVar[type[Settings]]
    layouts: ClassVar[Mapping[str, type[Settings]]]
    presets: ClassVar[Mapping[str, Settings]]
    recipe: ClassVar[tuple[str, str]]
    """Module and class in s3prl."""
    balance: ClassVar[str]
    """The column whose values share a limited number of utterances."""

    def __init__(self, config: Config) -> None:
        """Keep the configuration."""
        self._config = config
        self._checked: dict[Data, dict[str, pd.DataFrame]] = {}

    @abstractmethod
    def read(self, data: Data) -> dict[str, pd.DataFrame]:
        """Read the corpus, with all that can be wrong about it told.

        Returns:
            Tables ``train``, ``dev`` and ``test``, see `tasks.bridge.recipe.Splits`.

        Raises:
            UserError: what is missing, unreadable or contradictory, and where.
        """

    @staticmethod
    @abstractmethod
    def counts(reference: str, prediction: str) -> Counts:
        """Count an utterance's share of every metric, see `tasks.metrics.counts`."""

    def check(self, data: Data) -> dict[str, SplitSize]:
        """Refuse a corpus that is missing, incomplete, contradictory, unreadable or not 16 kHz.

        What was read is kept: listing a large corpus and reading its headers takes minutes, and every model and seed
        would begin with it.

        Returns:
            What there is of each table of `read`.

        Raises:
            UserError: what is missing, and where.
        """
        # An installation on which no head can be trained is found here, before compression.
        import tasks.bridge.run  # noqa: F401

        self._checked[data] = self.read(data)
        return split_sizes(self._checked[data])

    def fingerprint(self, data: Data) -> str:
        """Hash the corpus: utterances, labels and audio; see `bench.contracts.FingerprintsData`."""
        return corpus_sha256(self.checked(data), {self.balance})

    def checked(self, data: Data) -> dict[str, pd.DataFrame]:
        """Return what the last `check` has read of a corpus; without one, read it."""
        return self._checked[data] if data in self._checked else self.read(data)

    def evaluate(self, upstream: Upstream, data: Data, workdir: Path, context: Context) -> Evaluation:
        """Train the head and score it on the whole dev and test sets.

        Raises:
            UserError: the corpus is unusable, or audio turned out to be torn or not finite.
        """
        corpus = self.checked(data)
        train = partial(self.train, upstream, corpus)
        return evaluate_head(train, self._config, self.metrics[0], upstream, corpus, workdir, context)

    def train(
        self,
        upstream: Upstream,
        corpus: Mapping[str, pd.DataFrame],
        config: Config,
        workdir: Path,
        context: Context,
        scored: Sequence[str],
    ) -> Evaluation:
        """Train a head whose learning rate is known, and score it on the splits named.

        Args:
            upstream: frozen.
            corpus: ``train``, ``dev`` and ``test``.
            config: of the head.
            workdir: for checkpoints.
            context: seed, device and protocol.
            scored: ``dev`` and ``test``, or ``dev`` alone.
        """
        # It takes torch and s3prl with it, which those who only list tasks need not wait for.
        from tasks.bridge.run import run_recipe

        result = run_recipe(
            self.recipe,
            config.recipe_arguments(),
            config.limited(corpus, by=self.balance),
            upstream,
            workdir,
            context,
            features=config.features,
            counts=self.counts,
            scored=scored,
        )
        return self.score(result)

    def score(self, result: RecipeResult) -> Evaluation:
        """Score what the head said: by default, by the sums of all utterances' counts."""
        scores = {split: ratios(rows) for split, rows in result.predictions_by_split().items()}
        return Evaluation(scores=scores, predictions=result.predictions, settings=result.settings)
