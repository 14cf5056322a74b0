"""Probes that transcribe: characters, and for slot filling the slots among them, by CTC."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from difficulty.classification import batches, masked
from difficulty.items import Fold, Item
from tasks.bridge import s3prl_compat
from tasks.bridge.padded_lstm import PaddedLSTM

BLANK = 0


class Tokenizer(Protocol):
    """What is used of s3prl's tokenizers."""

    vocab_size: int

    def decode(self, idxs: list[int], ignore_repeat: bool = False) -> str:
        """Turn tokens into text."""


def tokenized(items: Sequence[Item]) -> tuple[Tokenizer, list[list[int]]]:
    """Turn texts, and slots where there are any, into s3prl's tokens."""
    s3prl_compat.install()
    tokenizers: Any = import_module("s3prl.dataio.encoder.tokenizer")
    slots = sorted({slot for item in items for slot in item.label.split() if slot != "O"})
    if not slots:
        tokenizer = tokenizers.CharacterTokenizer()
        return tokenizer, [tokenizer.encode(item.text) for item in items]
    tags = [f"{side}-{slot}" for slot in slots for side in "BE"]
    tokenizer = tokenizers.CharacterSlotTokenizer(tokenizers.CHARACTER_VOCAB, tags)
    return tokenizer, [tokenizer.encode(item.text.upper(), item.label) for item in items]


class WeightedSum(nn.Module):
    """The front of a probe of a frozen upstream: weighted sum of its standardised hidden states."""

    centre: Tensor
    scale: Tensor

    def __init__(self, states: Sequence[Tensor], train: Sequence[int]) -> None:
        super().__init__()
        frames = torch.cat([states[index] for index in train[::4]], dim=1).float()
        self.register_buffer("centre", frames.mean(1, keepdim=True))
        self.register_buffer("scale", frames.std(1, keepdim=True).clamp(min=1e-5))
        self.layer_weights = nn.Parameter(torch.zeros(len(frames)))
        self.dim = frames.shape[2]

    def forward(self, states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map utterances (layers, frames, dim) to a batch (batch, frames, dim), and their lengths."""
        weights = self.layer_weights.softmax(0)
        summed = [torch.einsum("l,lfd->fd", weights, (state.float() - self.centre) / self.scale) for state in states]
        lengths = torch.tensor([len(utterance) for utterance in summed])
        return pad_sequence(summed, batch_first=True), lengths


class TrainedFront(nn.Module):
    """The front of the supervised model: convolutions on filter banks, a frame each 20 ms."""

    centre: Tensor
    scale: Tensor

    def __init__(self, bands: Sequence[Tensor], train: Sequence[int], width: int = 160) -> None:
        super().__init__()
        frames = torch.cat([bands[index][0] for index in train])
        self.register_buffer("centre", frames.mean(0))
        self.register_buffer("scale", frames.std(0))
        self.first = nn.Conv1d(frames.shape[1], width, 5, 2, 2)
        self.second = nn.Conv1d(width, width, 5, 1, 2)
        self.norms = nn.ModuleList([nn.BatchNorm1d(width), nn.BatchNorm1d(width)])
        self.dim = width

    def forward(self, bands: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map utterances (1, frames, 80) to a batch (batch, frames, dim), and their lengths."""
        chosen = [(utterance[0] - self.centre) / self.scale for utterance in bands]
        lengths = torch.tensor([-(-len(utterance) // 2) for utterance in chosen])
        batch = pad_sequence(chosen, batch_first=True).transpose(1, 2)
        if self.training:
            batch = masked(batch)
        mask = (torch.arange(int(lengths.max())) < lengths[:, None])[:, None].float()
        hidden = F.relu(self.norms[0](self.first(batch))) * mask
        hidden = (hidden + F.relu(self.norms[1](self.second(hidden)))) * mask
        return hidden.transpose(1, 2), lengths


class Recognizer(nn.Module):
    """A front, a bidirectional LSTM, and characters."""

    def __init__(self, front: WeightedSum | TrainedFront, vocab_size: int, hidden_size: int) -> None:
        super().__init__()
        self.front = front
        self.projection = nn.Linear(front.dim, hidden_size)
        self.lstm = PaddedLSTM(hidden_size, hidden_size, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.2)
        self.output = nn.Linear(2 * hidden_size, vocab_size)

    def forward(self, utterances: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Give log probabilities (batch, frames, vocabulary), and lengths."""
        batch, lengths = self.front(utterances)
        packed = pack_padded_sequence(self.projection(batch), lengths, batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.output(self.dropout(hidden)).log_softmax(2), lengths


@dataclass(frozen=True)
class Training:
    """How a recognizer is trained."""

    num_epochs: int
    batch_size: int = 4
    learning_rate: float = 3e-3
    hidden_size: int = 160
    num_choices: int = 6
    """How often the dev set is transcribed, to choose the weights that do best on it."""


def transcribe(
    make_front: Callable[[], WeightedSum | TrainedFront],
    utterances: Sequence[Tensor],
    tokenizer: Tokenizer,
    tokens: Sequence[list[int]],
    fold: Fold,
    *,
    dev_errors: Callable[[list[str]], float],
    seed: int,
    training: Training,
) -> list[str]:
    """Train a recognizer, choose its weights on dev, and transcribe the test utterances greedily.

    Args:
        make_front: makes the front, after the seed has been set.
        utterances: what the front is given, each (layers, frames, dim).
        tokenizer: says what tokens mean.
        tokens: the reference of each utterance.
        fold: the split.
        dev_errors: judges transcripts of the dev set; lower is better.
        seed: of weights, masks and order.
        training: how long.
    """
    torch.manual_seed(seed)
    order = np.random.RandomState(seed)
    model = Recognizer(make_front(), tokenizer.vocab_size, training.hidden_size)
    num_steps = training.num_epochs * -(-len(fold.train) // training.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.learning_rate, num_steps)
    least, state = float("inf"), model.state_dict()
    chosen_after = {training.num_epochs - 2 * place for place in range(training.num_choices)}
    for epoch in range(1, training.num_epochs + 1):
        model.train()
        for indices in batches(utterances, fold.train, training.batch_size, order):
            optimizer.zero_grad()
            loss = _loss(model, [utterances[index] for index in indices], [tokens[index] for index in indices])
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        if epoch in chosen_after:
            errors = dev_errors(_decode(model, tokenizer, utterances, fold.dev))
            if errors < least:
                least, state = errors, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)
    return _decode(model, tokenizer, utterances, fold.test)


def _loss(model: Recognizer, utterances: Sequence[Tensor], tokens: Sequence[list[int]]) -> Tensor:
    log_probabilities, lengths = model(utterances)
    targets = torch.tensor([token for reference in tokens for token in reference])
    target_lengths = torch.tensor([len(reference) for reference in tokens])
    return F.ctc_loss(
        log_probabilities.transpose(0, 1), targets, lengths, target_lengths, blank=BLANK, zero_infinity=True
    )


def _decode(model: Recognizer, tokenizer: Tokenizer, utterances: Sequence[Tensor], indices: Sequence[int]) -> list[str]:
    model.eval()
    texts = []
    with torch.no_grad():
        for start in range(0, len(indices), 8):
            log_probabilities, lengths = model([utterances[index] for index in indices[start : start + 8]])
            for frames, length in zip(log_probabilities.argmax(2), lengths, strict=True):
                texts.append(tokenizer.decode(frames[:length].tolist(), ignore_repeat=True))
    return texts
