"""Intent classification on Fluent Speech Commands, by SUPERB's recipe."""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd
from pydantic import field_validator

from bench.contracts import Metric, Settings, SuperbStandard, TaskLoss
from bench.errors import UserError
from bench.text import shortened
from tasks.corpora.fluent_speech_commands import SLOTS, FluentSpeechCommandsData, read_fluent_speech_commands
from tasks.corpora.labels import check_classes
from tasks.corpora.own_data import ManifestData, read_own_data
from tasks.heads.config import PAPER, SUPERB_RATES
from tasks.heads.pooled import ACCURACY, MINI_POOLED, SMOKE_POOLED, PooledHeadConfig
from tasks.heads.task import HeadTask
from tasks.metrics.counts import accuracy_counts


class IntentManifestData(ManifestData):
    """One's own commands."""

    intent_columns: tuple[str, ...] = SLOTS
    """Columns that make up the intent. Each is learned separately. An utterance is correct only if all of them are."""

    @field_validator("intent_columns", mode="before")
    @classmethod
    def _check_columns(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) for name in value):
            raise ValueError("expected a list of columns of the manifest. Write e.g. intent_columns: [intent]")
        if len(set(value)) < len(value):
            raise ValueError("expected every column once. Name each one time")
        return value


class ICConfig(PooledHeadConfig):
    """SUPERB's head: weighted sum of hidden states, linear, mean over time, linear for action, object and location.

    The preset ``paper`` is s3prl's recipe, with SUPERB's search for the learning rate.

    Source: s3prl 0.4.18, ``SuperbIC.default_config``.
    """


class IC(HeadTask[ICConfig, FluentSpeechCommandsData | IntentManifestData]):
    """Intent classification. An utterance is correct only if action, object and location are."""

    name: ClassVar[str] = "ic"
    summary: ClassVar[str] = "Intent classification: Fluent Speech Commands, s3prl's SuperbIC (mean-pooled linear head)"
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    config_type: ClassVar[type[Settings]] = ICConfig
    layouts: ClassVar[dict[str, type[Settings]]] = {
        "fluent_speech_commands": FluentSpeechCommandsData,
        "manifest": IntentManifestData,
    }
    recipe: ClassVar[tuple[str, str]] = ("s3prl.problem.common.superb_ic", "SuperbIC")
    balance: ClassVar[str] = "labels"
    counts = staticmethod(accuracy_counts)
    superb_standard: ClassVar[SuperbStandard] = SuperbStandard(
        # Fluent Speech Commands: Lugosch et al. 2019, table 1.
        total_steps=200_000,
        num_test_utterances=3_793,
        num_train_utterances=23_132,
    )
    presets: ClassVar[dict[str, ICConfig]] = {
        "paper": ICConfig(
            **PAPER,
            total_steps=200_000,
            learning_rate="auto",
            learning_rates=SUPERB_RATES,
            batch_size=32,
            eval_batch_size=32,
            eval_interval_steps=5_000,
            save_interval_steps=250,
        ),
        "mini": ICConfig(
            **MINI_POOLED,
            total_steps=4_000,
            learning_rate=2e-3,
            eval_interval_steps=400,
            save_interval_steps=200,
        ),
        "smoke": ICConfig(
            **SMOKE_POOLED,
        ),
    }

    def read(self, data: FluentSpeechCommandsData | IntentManifestData) -> dict[str, pd.DataFrame]:
        """Read and check the corpus.

        Returns:
            Tables ``train``, ``dev`` and ``test``, with all intent columns in one as labels.

        Raises:
            UserError: something is missing or contradictory.
        """
        if isinstance(data, IntentManifestData):
            place, columns = data.manifest, data.intent_columns
            splits = {split: _with_labels(table, data) for split, table in read_own_data(data, columns).items()}
        else:
            place, columns = data.root, SLOTS
            splits = read_fluent_speech_commands(data)
        for column in columns:
            check_classes(splits, column, place)
        return splits

    def loss_of(self, table: pd.DataFrame) -> TaskLoss:
        """Return the loss of the intent's slots; see `HeadTask`."""
        from tasks.heads.task_loss import label_loss

        return label_loss(self.name, table, [tuple(labels.split(" ; ")) for labels in table["labels"]])


def _with_labels(table: pd.DataFrame, data: IntentManifestData) -> pd.DataFrame:
    """Join the intent's columns as s3prl's recipe takes them apart."""
    for column in data.intent_columns:
        if (unusable := table[table[column].str.contains(";", regex=False)]).size:
            raise UserError(
                f"Expected {column} without a semicolon in {data.manifest}. Found "
                f"{shortened(unusable[column].iloc[0])!r} at {shortened(unusable['path'].iloc[0])}. Use "
                "another character."
            )
    columns = [table[column].str.strip() for column in data.intent_columns]
    return table.assign(labels=[" ; ".join(values) for values in zip(*columns, strict=True)])
