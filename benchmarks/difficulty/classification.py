"""Probes that name the class of an utterance."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torchaudio.transforms import FrequencyMasking, TimeMasking

from difficulty.items import Fold


class PooledHead(nn.Module):
    """SUPERB's head: weighted sum of hidden states, linear 256, mean over time, linear.

    All of it is linear up to the mean, so means over time go in.

    Source: s3prl's ``MeanPoolingLinear``.
    """

    def __init__(self, num_layers: int, dim: int, num_classes: int) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(num_layers))
        self.projection = nn.Linear(dim, 256)
        self.output = nn.Linear(256, num_classes)

    def forward(self, means: Tensor) -> Tensor:
        """Map (batch, layers, dim) to (batch, classes)."""
        summed = torch.einsum("l,bld->bd", self.layer_weights.softmax(0), means)
        logits: Tensor = self.output(self.projection(summed))
        return logits


def predict_from_means(
    means: Tensor, targets: Tensor, fold: Fold, *, seed: int, num_steps: int = 300, learning_rate: float = 1e-3
) -> list[int]:
    """Train the head on all training utterances at once, choose the step on dev, and classify the test utterances.

    Args:
        means: (utterances, layers, dim).
        targets: classes, (utterances,).
        fold: the split.
        seed: of the head's weights.
        num_steps: of Adam.
        learning_rate: of Adam.
    """
    torch.manual_seed(seed)
    # An affine map, so no other function class; but without it a linear head on log energies hardly learns.
    centre = means[fold.train].mean(0)
    scale = means[fold.train].std(0).clamp(min=1e-5)
    means = (means - centre) / scale
    head = PooledHead(means.shape[1], means.shape[2], int(targets.max()) + 1)
    optimizer = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=1e-2)
    best = _Best()
    for step in range(1, num_steps + 1):
        optimizer.zero_grad()
        F.cross_entropy(head(means[fold.train]), targets[fold.train]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 10 == 0:
            with torch.no_grad():
                best.consider(head, head(means[fold.dev]), targets[fold.dev])
    best.restore(head)
    with torch.no_grad():
        predicted: list[int] = head(means[fold.test]).argmax(1).tolist()
    return predicted


class TDNN(nn.Module):
    """Convolutions over time on filter banks, mean and standard deviation over time, linear."""

    def __init__(self, num_classes: int, width: int = 128, dropout: float = 0.3) -> None:
        super().__init__()
        shapes = [(5, 2, 1), (5, 2, 1), (3, 1, 1), (3, 1, 2), (3, 1, 3)]  # kernel, stride, dilation
        self.strides = [stride for _, stride, _ in shapes]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(80 if index == 0 else width, width, kernel, stride, kernel // 2 * dilation, dilation)
            for index, (kernel, stride, dilation) in enumerate(shapes)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in shapes)
        self.widening = nn.Conv1d(width, 2 * width, 1)
        self.output = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * width, num_classes))

    def forward(self, bands: Tensor, lengths: Tensor) -> Tensor:
        """Map (batch, 80, frames), with the valid frames of each, to (batch, classes)."""
        hidden = bands
        for convolution, norm, stride in zip(self.convolutions, self.norms, self.strides, strict=True):
            update = F.relu(norm(convolution(hidden)))
            if update.shape == hidden.shape:
                update = update + hidden
            lengths = lengths.div(stride, rounding_mode="floor")
            mask = (torch.arange(update.shape[2]) < lengths[:, None])[:, None].float()
            hidden = update * mask
        hidden = F.relu(self.widening(hidden)) * mask
        mean = hidden.sum(2) / lengths[:, None]
        variance = (hidden.square().sum(2) / lengths[:, None] - mean.square()).clamp(min=1e-5)
        logits: Tensor = self.output(torch.cat([mean, variance.sqrt()], dim=1))
        return logits


@dataclass(frozen=True)
class Training:
    """How long the supervised model is trained."""

    num_epochs: int
    batch_size: int = 32
    learning_rate: float = 3e-3


def predict_from_bands(
    bands: Sequence[Tensor], targets: Tensor, fold: Fold, *, seed: int, training: Training
) -> list[int]:
    """Train the TDNN end to end on masked filter banks, choose the epoch on dev, and classify the test utterances."""
    torch.manual_seed(seed)
    order = np.random.RandomState(seed)
    bands = standardised(bands, fold.train)
    model = TDNN(int(targets.max()) + 1)
    num_steps = training.num_epochs * -(-len(fold.train) // training.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.learning_rate, num_steps)
    best = _Best()
    for _ in range(training.num_epochs):
        model.train()
        for indices in batches(bands, fold.train, training.batch_size, order):
            inputs, lengths = padded(bands, indices)
            loss = F.cross_entropy(model(masked(inputs), lengths), targets[indices], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        best.consider(model, _logits(model, bands, fold.dev), targets[fold.dev])
    best.restore(model)
    return _logits(model, bands, fold.test).argmax(1).tolist()


def standardised(bands: Sequence[Tensor], train: Sequence[int]) -> list[Tensor]:
    """Bring every band to mean zero and variance one over the training utterances."""
    frames = torch.cat([bands[index] for index in train])
    centre, scale = frames.mean(0), frames.std(0)
    return [(utterance - centre) / scale for utterance in bands]


def batches(
    utterances: Sequence[Tensor], indices: Sequence[int], batch_size: int, order: np.random.RandomState
) -> Iterator[list[int]]:
    """Shuffle utterances into batches of similar lengths."""
    jitter = order.uniform(0.9, 1.1, len(indices))
    lengths = np.array([utterances[index].shape[-2] for index in indices])
    ordered = [indices[place] for place in np.argsort(lengths * jitter)]
    cut = [list(ordered[start : start + batch_size]) for start in range(0, len(ordered), batch_size)]
    for place in order.permutation(len(cut)):
        yield cut[place]


def padded(bands: Sequence[Tensor], indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Stack utterances to (batch, 80, frames), and tell their lengths."""
    chosen = [bands[index] for index in indices]
    lengths = torch.tensor([len(utterance) for utterance in chosen])
    return pad_sequence(chosen, batch_first=True).transpose(1, 2), lengths


def masked(inputs: Tensor) -> Tensor:
    """Mask (batch, dims, frames) as SpecAugment does, each utterance by itself, with zero, the mean."""
    inputs = inputs[:, None]
    for _ in range(2):
        inputs = FrequencyMasking(max(1, inputs.shape[2] // 6), iid_masks=True)(inputs)
        inputs = TimeMasking(max(1, min(20, inputs.shape[3] // 8)), iid_masks=True)(inputs)
    return inputs[:, 0]


def _logits(model: TDNN, bands: Sequence[Tensor], indices: Sequence[int]) -> Tensor:
    model.eval()
    with torch.no_grad():
        parts = [model(*padded(bands, indices[start : start + 16])) for start in range(0, len(indices), 16)]
    return torch.cat(parts)


class _Best:
    """The weights that did best on dev: by accuracy, then by loss."""

    def __init__(self) -> None:
        self._merit = (-1.0, 0.0)
        self._state: dict[str, Tensor] = {}

    def consider(self, model: nn.Module, logits: Tensor, targets: Tensor) -> None:
        accuracy = (logits.argmax(1) == targets).float().mean().item()
        merit = (accuracy, -F.cross_entropy(logits, targets).item())
        if merit > self._merit:
            self._merit, self._state = merit, copy.deepcopy(model.state_dict())

    def restore(self, model: nn.Module) -> None:
        model.load_state_dict(self._state)
