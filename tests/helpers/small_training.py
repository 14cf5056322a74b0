"""A small stage: its length, its objective, and the rows that it writes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressors.settings import StageConfig
from compressors.training.objective import Objective

STAGE = StageConfig(updates=11, warmup_updates=2, learning_rate=0.01)


def history_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Noisy(Objective):
    """A small objective with all that resuming must restore: momentum, dropout, batches, the update's number."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.3), nn.Linear(16, 1))
        self.fails_at = fails_at
        self.seen: list[float] = []

    def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
        if update == self.fails_at:
            raise KeyError("stopped here")
        self.seen.append(waveforms.sum().item())
        loss = (self.layers(waveforms[:, :16] * 10) - 1 / (update + 1)).square().mean()
        return {"loss": loss, "progress": float(update)}

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": self.parameters(), "lr": learning_rate, "weight_decay": 0.0}]
