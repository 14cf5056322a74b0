"""The suite's own tasks meet the requirements on plug-ins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.testing import TaskConformance, write_speech
from tasks.asr import ASR
from tasks.asv import ASV
from tasks.ks import KS
from tasks.qbe import QbE
from tasks.sd import SD

SPLITS = ("train", "train", "train", "train", "dev", "dev", "test", "test")


def write_table(folder: Path, column: str, values: tuple[str, str]) -> Mapping[str, Any]:
    write_speech(folder, len(SPLITS))
    rows = [f"speech-{index}.wav,{split},{values[index % 2]}" for index, split in enumerate(SPLITS)]
    (folder / "own.csv").write_text("\n".join([f"path,split,{column}", *rows]))
    return {"manifest": "own.csv"}


@pytest.mark.slow
class TestKS(TaskConformance):
    task = KS
    settings = ("total_steps=8", "eval_interval_steps=2", "save_interval_steps=2", "batch_size=2")

    @classmethod
    def write_data(cls, folder: Path) -> Mapping[str, Any]:
        return write_table(folder, "label", ("yes", "no"))


@pytest.mark.slow
class TestASR(TaskConformance):
    task = ASR
    settings = ("total_steps=4", "eval_interval_steps=1", "save_interval_steps=1", "batch_size=1")

    @classmethod
    def write_data(cls, folder: Path) -> Mapping[str, Any]:
        return write_table(folder, "text", ("A CAB", "BAD DAD"))


@pytest.mark.slow
class TestASV(TaskConformance):
    task = ASV
    settings = (
        "total_steps=8",
        "eval_interval_steps=2",
        "save_interval_steps=2",
        "batch_size=4",
        "max_train_s=0.6",
        "hidden_size=8",
        "aggregation_size=8",
        "embedding_size=8",
    )

    @classmethod
    def write_data(cls, folder: Path) -> Mapping[str, Any]:
        """Four recordings of each split, by two speakers."""
        write_speech(folder, 12)
        splits = [split for split in ("train", "dev", "test") for _ in range(4)]
        rows = [f"speech-{index}.wav,{split},{split} {index % 2}" for index, split in enumerate(splits)]
        (folder / "own.csv").write_text("\n".join(["path,split,speaker", *rows]))
        pairs = [(first, first + step) for first in (4, 8) for step in (1, 2, 3)]
        trials = [f"{(one - other + 1) % 2},speech-{one},speech-{other}" for one, other in pairs]
        (folder / "trials.csv").write_text("\n".join(["same,first,second", *trials]))
        return {"manifest": "own.csv", "trials": "trials.csv"}


@pytest.mark.slow
class TestSD(TaskConformance):
    task = SD
    settings = (
        "total_steps=4",
        "eval_interval_steps=1",
        "save_interval_steps=1",
        "batch_size=2",
        "hidden_size=8",
    )

    @classmethod
    def write_data(cls, folder: Path) -> Mapping[str, Any]:
        """Two speakers, of whom one is silent at the beginning."""
        data = write_table(folder, "rttm", ("turns.rttm", "turns.rttm"))
        lines = [
            f"SPEAKER speech-{index} 1 {onset} 0.3 <NA> <NA> {speaker} <NA> <NA>"
            for index in range(len(SPLITS))
            for speaker, onset in (("ana", 0.0), ("ben", 0.2))
        ]
        (folder / "turns.rttm").write_text("\n".join(lines))
        return data


@pytest.mark.slow
class TestQbE(TaskConformance):
    task = QbE
    settings = ("document_batch_s=0.5", "max_documents=null", "max_eval_utterances=null")

    @classmethod
    def write_data(cls, folder: Path) -> Mapping[str, Any]:
        """Eight documents, and two queries of each split."""
        write_speech(folder, 12)
        splits = ["documents"] * 8 + ["dev", "dev", "test", "test"]
        rows = [f"speech-{index}.wav,{split}" for index, split in enumerate(splits)]
        (folder / "own.csv").write_text("\n".join(["path,split", *rows]))
        matches = [f"speech-{query},speech-{query - 8}" for query in range(8, 12)]
        (folder / "matches.csv").write_text("\n".join(["query,document", *matches]))
        return {"manifest": "own.csv", "matches": "matches.csv"}
