"""Slot filling on Audio SNIPS, by SUPERB's recipe: words and their slots as one sequence of characters and tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from bench.contracts import Context, Evaluation, Metric, Settings, SplitSize, Upstream
from tasks.counts import slot_counts
from tasks.recurrent_head import LIGHT_MASKS, RecurrentHeadConfig
from tasks.snips import SNIPSData, read_snips
from tasks.splits import split_sizes


class SFConfig(RecurrentHeadConfig):
    """SUPERB's head: weighted sum of hidden states, SpecAugment, projection, bidirectional LSTM layers, CTC.

    The preset ``paper`` is the recipe as it is. SUPERB lets the learning rate vary; 1e-4 is s3prl's default, and what
    LightHuBERT's authors list for SF.

    Source: s3prl 0.4.18, ``SuperbSF.default_config``; learning rate: github.com/mechanicalsea/lighthubert, issue 2.
    """


class SF:
    """Slot filling."""

    name: ClassVar[str] = "sf"
    summary: ClassVar[str] = "Slot filling: Audio SNIPS, s3prl's SuperbSF (BLSTM, CTC on characters and slot tags)"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("slot_type_f1", higher_is_better=True, primary=True),
        Metric("slot_value_cer", higher_is_better=False, primary=True),
    )
    config_type: ClassVar[type[Settings]] = SFConfig
    layouts: ClassVar[dict[str, type[Settings]]] = {"snips": SNIPSData}
    presets: ClassVar[dict[str, SFConfig]] = {
        "paper": SFConfig(
            total_steps=200_000,
            learning_rate=1e-4,
            batch_size=32,
            eval_batch_size=1,
            eval_interval_steps=2_000,
            save_interval_steps=500,
            num_workers=6,
        ),
        "mini": SFConfig(
            total_steps=1_000,
            learning_rate=3e-3,
            batch_size=8,
            eval_batch_size=8,
            eval_interval_steps=250,
            save_interval_steps=125,
            num_workers=0,
            projection_size=192,
            hidden_size=192,
            num_lstm_layers=1,
            spec_augment=LIGHT_MASKS,
        ),
        "smoke": SFConfig(
            total_steps=20,
            learning_rate=1e-3,
            batch_size=4,
            eval_batch_size=1,
            eval_interval_steps=10,
            save_interval_steps=10,
            num_workers=0,
            projection_size=64,
            hidden_size=64,
            num_lstm_layers=1,
            spec_augment=LIGHT_MASKS,
            max_train_utterances=16,
            max_eval_utterances=8,
        ),
    }

    def __init__(self, config: SFConfig) -> None:
        self._config = config

    def read(self, data: SNIPSData) -> dict[str, pd.DataFrame]:
        """Read the corpus, with all that can be wrong about it told.

        Returns:
            What `read_snips` returns.

        Raises:
            UserError: what is missing, and where.
        """
        return read_snips(data)

    def check(self, data: SNIPSData) -> dict[str, SplitSize]:
        """Refuse a corpus that is missing, incomplete, unreadable or not 16 kHz.

        Returns:
            What there is of train, dev and test.

        Raises:
            UserError: what is missing, and where.
        """
        return split_sizes(self.read(data))

    def evaluate(self, upstream: Upstream, data: SNIPSData, workdir: Path, context: Context) -> Evaluation:
        """Train SUPERB's head, and score the slots of the whole test and dev sets by s3prl's own metrics.

        Raises:
            UserError: the corpus is unusable, or audio turned out to be torn or not finite.
        """
        from tasks.s3prl_bridge import run_recipe

        config = self._config
        result = run_recipe(
            ("s3prl.problem.asr.superb_sf", "SuperbSF"),
            config.recipe_arguments(),
            config.limited(self.read(data), by="speaker"),
            upstream,
            workdir,
            context,
            features="frames",
            counts=slot_counts,
        )
        names = [metric.name for metric in self.metrics]
        scores: dict[str, dict[str, Any]] = {
            split: {name: metrics[name] for name in names} for split, metrics in result.metrics.items()
        }
        return Evaluation(scores=scores, predictions=result.predictions, settings=result.settings)
