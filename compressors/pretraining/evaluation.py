"""How well a pretrained model predicts the units of held-out speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.audio.files import SAMPLE_RATE_HZ, AudioFile, read_waveform
from bench.contracts import Context
from compressors.objectives.masked_prediction import MaskedPrediction
from compressors.pretraining.config import PredictionConfig, PretrainingConfig
from compressors.units.labels import FrameUnits, perplexity, shares

MASK_SEED = 0


@torch.no_grad()
def held_out_figures(
    objective: MaskedPrediction,
    predictions: Sequence[PredictionConfig],
    targets: Sequence[FrameUnits],
    files: Sequence[AudioFile],
    config: PretrainingConfig,
    context: Context,
) -> list[dict[str, Any]]:
    """Score the predictions of an iteration on held-out files, one by one, with the same masks in every call.

    Returns:
        One row per prediction, except speakers, as held-out speakers are not in training: units and layer; ``frames``
        of the held-out files; ``chance``, the share of their most frequent unit; ``perplexity`` of their units;
        ``masked_loss`` in nats; and the accuracies on masked frames, on unmasked frames, and without a mask.
    """
    objective.to(context.device).eval()
    sums = [dict.fromkeys(("masked", "masked_loss", "unmasked", "plain"), 0.0) for _ in targets]
    num_frames, num_masked = 0, 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(MASK_SEED)
        for file in files:
            longest = round(config.max_duration_s * SAMPLE_RATE_HZ)
            waveform = torch.from_numpy(read_waveform(file, num_samples=min(longest, file.num_samples)))
            features, _ = objective.upstream.extract(waveform[None].to(context.device))
            mask = objective.draw_mask(features).to(context.device)
            hidden = objective.logits(features, mask)
            plain = objective.logits(features, None)
            num_frames += mask.shape[1]
            num_masked += int(mask.sum())
            for index, units in enumerate(targets):
                labels = units.of(file, 0, mask.shape[1]).to(context.device)
                _add(sums[index], hidden[index][0], plain[index][0], labels, mask[0])
    rows = []
    for prediction, units, total in zip(predictions, targets, sums, strict=True):
        if prediction.units == "speakers":
            continue
        unit_shares = shares(units, files)
        rows.append(
            {
                "units": prediction.units,
                "layer": prediction.layer,
                "frames": num_frames,
                "chance": float(unit_shares.max()),
                "perplexity": perplexity(unit_shares),
                "masked_loss": total["masked_loss"] / num_masked,
                "masked_accuracy": total["masked"] / num_masked,
                "unmasked_accuracy": total["unmasked"] / max(num_frames - num_masked, 1),
                "accuracy_without_mask": total["plain"] / num_frames,
            }
        )
    return rows


def _add(sums: dict[str, float], hidden: Tensor, plain: Tensor, labels: Tensor, mask: Tensor) -> None:
    """Add the counts of an utterance. Logits are (frames, units), labels and mask (frames,)."""
    is_right = hidden.argmax(-1) == labels
    sums["masked"] += is_right[mask].sum().item()
    sums["unmasked"] += is_right[~mask].sum().item()
    sums["plain"] += (plain.argmax(-1) == labels).sum().item()
    sums["masked_loss"] += F.cross_entropy(hidden[mask], labels[mask], reduction="sum").item()
