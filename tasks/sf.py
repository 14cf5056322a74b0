"""Slot filling on Audio SNIPS, by SUPERB's recipe: words and their slots as one sequence of characters and tags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from bench.contracts import Evaluation, Metric, Settings, SuperbStandard
from bench.errors import UserError
from bench.text import shortened
from tasks.bridge.slot_counts import slot_counts
from tasks.corpora.labels import check_labels
from tasks.corpora.own_data import ManifestData, read_texts
from tasks.corpora.snips import SNIPSData, read_snips
from tasks.heads.recurrent import MINI_RECURRENT, PAPER_RECURRENT, SMOKE_RECURRENT, RecurrentHeadConfig
from tasks.heads.task import HeadTask

if TYPE_CHECKING:
    from tasks.bridge.run import RecipeResult


class SFConfig(RecurrentHeadConfig):
    """SUPERB's head: weighted sum of hidden states, SpecAugment, projection, bidirectional LSTM layers, CTC.

    The preset ``paper`` is s3prl's recipe, with SUPERB's search for the learning rate.

    Source: s3prl 0.4.18, ``SuperbSF.default_config``.
    """


class SF(HeadTask[SFConfig, SNIPSData | ManifestData]):
    """Slot filling."""

    name: ClassVar[str] = "sf"
    summary: ClassVar[str] = "Slot filling: Audio SNIPS, s3prl's SuperbSF (BLSTM, CTC on characters and slot tags)"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("slot_type_f1", higher_is_better=True, primary=True),
        Metric("slot_value_cer", higher_is_better=False, primary=True),
    )
    config_type: ClassVar[type[Settings]] = SFConfig
    layouts: ClassVar[dict[str, type[Settings]]] = {"snips": SNIPSData, "manifest": ManifestData}
    recipe: ClassVar[tuple[str, str]] = ("s3prl.problem.asr.superb_sf", "SuperbSF")
    balance: ClassVar[str] = "speaker"
    counts = staticmethod(slot_counts)
    superb_standard: ClassVar[SuperbStandard] = SuperbStandard(
        # Audio SNIPS: 13,084 requests by 8 speakers for training, and 700 by 4 for the test.
        total_steps=200_000,
        num_test_utterances=2_800,
        num_train_utterances=104_672,
    )
    presets: ClassVar[dict[str, SFConfig]] = {
        "paper": SFConfig(
            **PAPER_RECURRENT,
            batch_size=32,
        ),
        "mini": SFConfig(
            **MINI_RECURRENT,
            total_steps=1_000,
            batch_size=8,
            eval_interval_steps=250,
            save_interval_steps=125,
        ),
        "smoke": SFConfig(
            **SMOKE_RECURRENT,
        ),
    }

    def read(self, data: SNIPSData | ManifestData) -> dict[str, pd.DataFrame]:
        """Read and check the corpus.

        Returns:
            Tables ``train``, ``dev`` and ``test``, with the words as transcription and their slots as iob.

        Raises:
            UserError: something is missing or contradictory.
        """
        if isinstance(data, ManifestData):
            place = data.manifest
            splits = {split: _with_slots(table, place) for split, table in read_texts(data, "slots").items()}
        else:
            place = data.root
            splits = read_snips(data)
        slots = {split: set(" ".join(table["iob"]).split(" ")) for split, table in splits.items()}
        check_labels(slots, "slot", place)
        return splits

    def score(self, result: RecipeResult) -> Evaluation:
        """Take the scores of s3prl's slot metrics."""
        scores = {
            split: {metric.name: values[metric.name] for metric in self.metrics}
            for split, values in result.metrics.items()
        }
        return Evaluation(scores=scores, predictions=result.predictions, settings=result.settings)


def _with_slots(table: pd.DataFrame, manifest: Path) -> pd.DataFrame:
    """Check that every word has a slot, and that s3prl's metrics can parse words and slots."""
    slots = [" ".join(slots.split()) for slots in table["slots"]]
    for path, words, tags in zip(table["path"], table["transcription"], slots, strict=True):
        if len(words.split(" ")) != len(tags.split(" ")):
            raise UserError(
                f"Expected a slot for every word in {manifest}, O for none. Found {len(words.split(' '))} words and "
                f"{len(tags.split(' '))} slots at {shortened(path)}. Correct the row."
            )
        if signs := sorted(set(":;") & set(words + tags)):
            raise UserError(
                f"Expected text and slots without colon and semicolon in {manifest}: s3prl's slot metrics split values "
                f"there. Found {signs[0]!r} at {shortened(path)}. Replace it."
            )
        if prefixed := [tag for tag in tags.split(" ") if tag.startswith(("B-", "I-", "E-"))]:
            raise UserError(
                f"Expected bare names of slots in {manifest}: consecutive words with one name are one value. Found "
                f"{shortened(prefixed[0])!r} at {shortened(path)}. Leave out the prefix."
            )
    return table.assign(iob=slots).drop(columns="slots")
