"""The bridge to s3prl's recipes with CTC: recognition of words and phonemes, and slot filling.

Cached features do not depend on the batch, and these heads look at each utterance's own frames only. So dev and test
are scored in batches of about one length; alone, a recurrent head computes one small product per frame. s3prl decodes
the frames of the padding too, which may add characters: they are blank here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.audio.files import SAMPLE_RATE_HZ
from tasks.bridge.recipe import BridgedRecipe

BUCKET_S = 64.0
"""Most seconds of speech in a batch of dev or test, with its padding."""


class LengthBuckets:
    """Batches of all utterances, each with those of about one length.

    Args:
        num_samples: length of each utterance.
        most_samples: of a batch with its padding. A longer utterance is a batch of its own.
    """

    def __init__(self, num_samples: Sequence[int], most_samples: int) -> None:
        self._batches: list[list[int]] = []
        for position in sorted(range(len(num_samples)), key=lambda position: num_samples[position]):
            last = self._batches[-1] if self._batches else []
            # The utterances are sorted, so this one is the longest.
            if last and (len(last) + 1) * num_samples[position] <= most_samples:
                last.append(position)
            else:
                self._batches.append([position])

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


class BridgedTranscription(BridgedRecipe):
    """Overrides of ``SuperbASR``, ``SuperbPR`` and ``SuperbSF``. Argument names are s3prl's."""

    def build_batch_sampler(
        self,
        build_batch_sampler: dict[str, Any],
        target_dir: Path,
        cache_dir: Path,
        mode: str,
        data_csv: Path,
        *rest: Any,
    ) -> Any:
        """Take batches of about one length to score, unless features depend on the batch."""
        if mode == "train" or not self.has_unpadded_features:
            return super().build_batch_sampler(build_batch_sampler, target_dir, cache_dir, mode, data_csv, *rest)
        num_samples = self.splits[Path(data_csv).stem]["num_samples"].tolist()
        return LengthBuckets(num_samples, round(BUCKET_S * SAMPLE_RATE_HZ))

    def build_task(self, *args: Any, **kwargs: Any) -> Any:
        """Let results be those of each utterance alone, if its features are."""
        task = super().build_task(*args, **kwargs)
        if self.has_unpadded_features:
            blank = task.tokenizer.pad_idx
            task.model.register_forward_hook(lambda model, _, output: _without_padding(model, output, blank))
            task.register_forward_hook(_loss_of_each)
        return task


def _without_padding(model: nn.Module, output: tuple[Tensor, Tensor], blank: int) -> tuple[Tensor, Tensor]:
    """Replace the logits (batch, frames, tokens) of padding by those of a blank, except in training."""
    logits, lengths = output
    if model.training:
        return output
    frames = torch.arange(logits.shape[1], device=logits.device)
    is_padding = frames >= lengths.to(logits.device)[:, None]
    blanks = torch.zeros_like(logits[0, 0])
    blanks[blank] = 1.0
    return torch.where(is_padding[..., None], blanks, logits), lengths


def _loss_of_each(task: nn.Module, _inputs: Any, output: tuple[Tensor, dict[str, Any]]) -> None:
    """Give every utterance the mean loss of its batch. s3prl averages over batches, whose sizes differ here."""
    if not task.training:
        cacheable = output[1]
        cacheable["loss"] = [cacheable["loss"]] * len(cacheable["unique_name"])
