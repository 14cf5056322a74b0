"""Training losses of tasks, for compressors that learn with them: light heads on a trainable upstream.

The heads have SUPERB's structure: a weighted sum of hidden states, then linear layers, with a mean over time for
utterance labels. Speech recognition has no LSTM here: its job is to tell the upstream what matters, and a strong head
would hide what the upstream has lost.

Source: SUPERB (arXiv 2105.01051) section 2 for the heads; DiariZen (arXiv 2505.24111) and Hybrid Pruning (arXiv
2508.16232) for pruning with a task's loss.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import Utterance

WIDTH = 256
"""Width between the linear layers of a head."""
PADDING = -1
"""Value that fills up targets of different lengths."""


@dataclass(frozen=True)
class LabelLoss:
    """Cross-entropy of one label per utterance, or of several slots."""

    task: str
    utterances: Sequence[Utterance]
    labels: Sequence[tuple[int, ...]]
    """Class of every slot, by utterance."""
    num_classes: tuple[int, ...]
    """Classes of every slot."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The corpus and the kind of loss."""
        return _identity(self.task, self.utterances, self.labels, self.num_classes)

    def targets(self, index: int) -> Tensor:
        """Return the classes of an utterance, (slots,)."""
        return torch.tensor(self.labels[index])

    def head(self, num_states: int, dim: int) -> nn.Module:
        """Return a new head."""
        return PooledHead(num_states, dim, self.num_classes)


@dataclass(frozen=True)
class SequenceLoss:
    """CTC over the symbols of a transcript. Symbol 0 is the blank."""

    task: str
    utterances: Sequence[Utterance]
    symbols: Sequence[tuple[int, ...]]
    """Symbols of every utterance, from 1."""
    num_symbols: int
    """Number of symbols, including the blank."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The corpus and the kind of loss."""
        return _identity(self.task, self.utterances, self.symbols, (self.num_symbols,))

    def targets(self, index: int) -> Tensor:
        """Return the symbols of an utterance."""
        return torch.tensor(self.symbols[index], dtype=torch.long)

    def head(self, num_states: int, dim: int) -> nn.Module:
        """Return a new head."""
        return SequenceHead(num_states, dim, self.num_symbols)


class WeightedSum(nn.Module):
    """A learned mean of hidden states, then a linear layer."""

    def __init__(self, num_states: int, dim: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_states))
        self.projection = nn.Linear(dim, WIDTH)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Map states (batch, frames, dim) to (batch, frames, WIDTH)."""
        weights = self.weights.softmax(0)
        mixed = torch.stack([weight * state for weight, state in zip(weights, states, strict=True)]).sum(0)
        projected: Tensor = self.projection(mixed)
        return projected


class PooledHead(nn.Module):
    """SUPERB's utterance-level head, with one output layer per slot."""

    def __init__(self, num_states: int, dim: int, num_classes: Sequence[int]) -> None:
        super().__init__()
        self.mix = WeightedSum(num_states, dim)
        self.outputs = nn.ModuleList(nn.Linear(WIDTH, count) for count in num_classes)

    def forward(self, states: Sequence[Tensor], num_frames: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy over utterances and slots."""
        hidden = self.mix(states)
        inside = torch.arange(hidden.shape[1], device=hidden.device) < num_frames.to(hidden.device)[:, None]
        pooled = (hidden * inside[:, :, None]).sum(1) / inside.sum(1, keepdim=True).clamp(min=1)
        losses = [F.cross_entropy(output(pooled).float(), targets[:, slot]) for slot, output in enumerate(self.outputs)]
        return torch.stack(losses).mean()


class SequenceHead(nn.Module):
    """A frame-level head with CTC."""

    def __init__(self, num_states: int, dim: int, num_symbols: int) -> None:
        super().__init__()
        self.mix = WeightedSum(num_states, dim)
        self.output = nn.Linear(WIDTH, num_symbols)

    def forward(self, states: Sequence[Tensor], num_frames: Tensor, targets: Tensor) -> Tensor:
        """Return CTC's loss per symbol. Utterances with more symbols than frames do not count."""
        with torch.autocast(states[0].device.type, enabled=False):
            logits = self.output(F.gelu(self.mix([state.float() for state in states])))
            lengths = (targets != PADDING).sum(1)
            loss: Tensor = F.ctc_loss(
                logits.log_softmax(-1).transpose(0, 1),
                targets.clamp(min=0),
                num_frames.to(targets.device).clamp(max=logits.shape[1]),
                lengths,
                zero_infinity=True,
            )
            return loss


def label_loss(task: str, table: pd.DataFrame, slots: Sequence[Sequence[str]]) -> LabelLoss:
    """Make the loss of a table of training utterances.

    Args:
        task: name of the task.
        table: see `tasks.bridge.recipe.Splits`.
        slots: the label of every slot, by utterance.
    """
    classes = [sorted(set(values)) for values in zip(*slots, strict=True)]
    numbers = [{name: number for number, name in enumerate(names)} for names in classes]
    labels = [tuple(number[value] for number, value in zip(numbers, values, strict=True)) for values in slots]
    return LabelLoss(task, _utterances(table), labels, tuple(map(len, classes)))


def sequence_loss(task: str, table: pd.DataFrame, symbols: Sequence[Sequence[str]]) -> SequenceLoss:
    """Make the loss of a table of training utterances.

    Args:
        task: name of the task.
        table: see `tasks.bridge.recipe.Splits`.
        symbols: characters or phones, by utterance.
    """
    numbers = {name: number for number, name in enumerate(sorted({one for each in symbols for one in each}), start=1)}
    sequences = [tuple(numbers[one] for one in each) for each in symbols]
    return SequenceLoss(task, _utterances(table), sequences, len(numbers) + 1)


def _utterances(table: pd.DataFrame) -> list[Utterance]:
    starts = table["start_sec"] if "start_sec" in table else [None] * len(table)
    ends = table["end_sec"] if "end_sec" in table else [None] * len(table)
    return [
        _utterance(path, int(num_samples), start, end)
        for path, num_samples, start, end in zip(table["wav_path"], table["num_samples"], starts, ends, strict=True)
    ]


def _utterance(path: str, num_samples: int, start_s: float | None, end_s: float | None) -> Utterance:
    if start_s is None or pd.isna(start_s) or end_s is None:
        return Utterance(Path(path), 0, num_samples)
    first = round(start_s * SAMPLE_RATE_HZ)
    return Utterance(Path(path), first, round(end_s * SAMPLE_RATE_HZ) - first)


def _identity(
    task: str, utterances: Sequence[Utterance], values: Sequence[Sequence[int]], counts: Sequence[int]
) -> dict[str, Any]:
    rows = [
        (each.path.name, each.start, each.num_samples, [*target])
        for each, target in zip(utterances, values, strict=True)
    ]
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return {"task": task, "counts": [*counts], "utterances": len(rows), "sha256": digest}
