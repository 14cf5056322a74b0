"""A third party's task: recognises the accents that a CSV file lists, with a linear layer on mean-pooled states."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.audio.files import SAMPLE_RATE_HZ, AudioFile, read_headers, read_waveform
from bench.audio.manifest import read_manifest
from bench.contracts import Context, Evaluation, Metric, Settings, SplitSize, Upstream
from bench.errors import UserError
from bench.files.atomic import replacing, write_atomically
from bench.store.claims import claim_folder
from bench.upstream import weights_hash

SPLITS = ("train", "dev", "test")


class AccentConfig(Settings):
    """Training of the linear layer."""

    steps: int = Field(ge=1)
    """Updates, each on all training utterances."""
    learning_rate: float = Field(default=1e-2, gt=0)
    """Of Adam, the same in all updates."""


class AccentData(Settings):
    """Recordings listed in a table."""

    layout: Literal["table"] = "table"
    """A table with one row per utterance."""
    table: Path
    """CSV file with the columns ``path`` (relative to the file), ``split`` (train, dev or test) and ``accent``."""


class Accent:
    """Recognises accents."""

    name = "accent"
    summary = "Accents listed in a CSV file, with a linear layer on mean-pooled states"
    metrics = (Metric("accuracy", higher_is_better=True, primary=True),)
    config_type: ClassVar[type[Settings]] = AccentConfig
    layouts: ClassVar[Mapping[str, type[Settings]]] = {"table": AccentData}
    presets: ClassVar[Mapping[str, Settings]] = {
        "paper": AccentConfig(steps=2_000),
        "mini": AccentConfig(steps=200),
        "smoke": AccentConfig(steps=20),
    }

    def __init__(self, config: AccentConfig) -> None:
        self.config = config

    def check(self, data: AccentData) -> dict[str, SplitSize]:
        """Refuse a table or recordings that cannot be used."""
        table = _read(data)
        sizes = {}
        for split in SPLITS:
            files = table[table["split"] == split]["file"]
            if files.empty:
                raise UserError(f"Expected rows of {', '.join(SPLITS)} in {data.table}. Found none of {split}.")
            sizes[split] = SplitSize(len(files), sum(file.duration_s for file in files))
        return sizes

    def evaluate(self, upstream: Upstream, data: AccentData, workdir: Path, context: Context) -> Evaluation:
        """Train the layer and score it. The workdir keeps the features, which take longest, and the predictions."""
        table = _read(data)
        claim_folder(workdir, self._work(upstream, table, context))
        kept = workdir / "predictions.json"
        if kept.exists():
            predictions = json.loads(kept.read_text())
        else:
            predictions = self._predictions(upstream, table, workdir, context)
            write_atomically(kept, json.dumps(predictions))
        return Evaluation(scores=_scores(predictions), predictions=predictions, settings=self.config.model_dump())

    def _predictions(
        self, upstream: Upstream, table: pd.DataFrame, workdir: Path, context: Context
    ) -> list[dict[str, Any]]:
        table["features"] = [
            _kept_features(upstream, file, workdir / f"{number}.npy", context)
            for number, file in enumerate(table["file"])
        ]
        accents = sorted(set(table["accent"]))
        layer = self._train(table[table["split"] == "train"], accents, context.seed)
        return [_prediction(row, layer, accents) for row in table[table["split"] != "train"].to_dict("records")]

    def _work(self, upstream: Upstream, table: pd.DataFrame, context: Context) -> dict[str, Any]:
        """Name everything that the result depends on."""
        return {
            "configuration": self.config.model_dump(mode="json"),
            "seed": context.seed,
            "upstream": weights_hash(upstream),  # type: ignore[arg-type]
            "table": table[["path", "split", "accent"]].to_dict("list"),
        }

    def _train(self, table: pd.DataFrame, accents: list[str], seed: int) -> nn.Linear:
        features = torch.stack(list(table["features"]))
        labels = torch.tensor([accents.index(accent) for accent in table["accent"]])
        layer = nn.Linear(features.shape[1], len(accents))
        with torch.no_grad():
            layer.weight.copy_(0.01 * torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(seed)))
            layer.bias.zero_()
        optimizer = torch.optim.Adam(layer.parameters(), lr=self.config.learning_rate)
        for _ in range(self.config.steps):
            optimizer.zero_grad()
            cross_entropy(layer(features), labels).backward()
            optimizer.step()
        return layer


def _read(data: AccentData) -> pd.DataFrame:
    """Read the table, and the headers of its recordings into the column ``file``."""
    table = read_manifest(data.table, ("path", "split", "accent"))
    unknown = table[~table["split"].isin(SPLITS)]
    if not unknown.empty:
        raise UserError(f"Expected {', '.join(SPLITS)} as split in {data.table}. Found {unknown['split'].iloc[0]!r}.")
    table["file"] = read_headers([data.table.parent / path for path in table["path"]])
    return table


def _kept_features(upstream: Upstream, file: AudioFile, kept: Path, context: Context) -> Tensor:
    """Return the mean over time of the last hidden state, (dim,), from the workdir if it is there."""
    if not kept.exists():
        waveform = torch.from_numpy(read_waveform(file))[None].to(context.device)
        with torch.no_grad():
            states, _ = upstream(waveform, torch.tensor([waveform.shape[1]]))
        with replacing(kept) as temporary, temporary.open("wb") as opened:
            np.save(opened, states[-1][0].mean(dim=0).cpu().numpy())
    return torch.from_numpy(np.load(kept))


def _prediction(row: Mapping[str, Any], layer: nn.Linear, accents: list[str]) -> dict[str, Any]:
    predicted = accents[int(layer(row["features"]).argmax())]
    correct = predicted == row["accent"]
    return {
        "id": row["path"],
        "split": row["split"],
        "reference": row["accent"],
        "prediction": predicted,
        "correct": correct,
        "counts": {"accuracy": [int(correct), 1]},
        "duration_s": row["file"].num_samples / SAMPLE_RATE_HZ,
    }


def _scores(predictions: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    scores = {}
    for split in ("dev", "test"):
        correct = [row["correct"] for row in predictions if row["split"] == split]
        scores[split] = {"accuracy": sum(correct) / len(correct)}
    return scores
