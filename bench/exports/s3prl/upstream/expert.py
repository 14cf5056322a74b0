"""The upstream of this folder, with the interface of s3prl's upstreams.

It needs torch and transformers only. SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from modeling_superb_bench import CompressedSpeechModel
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

MIN_SAMPLES = 800
"""s3prl pads batches to 0.05 s. A shorter utterance in a longer batch counts as padded to it, too."""


class UpstreamExpert(nn.Module):
    """An exported model as s3prl calls it."""

    def __init__(self, ckpt: str | Path | None = None, **_: Any) -> None:
        """Load the model.

        Args:
            ckpt: the exported folder. Default: the folder of this file.
            _: other arguments of s3prl, which have no meaning here.
        """
        super().__init__()
        folder = Path(__file__).parent if ckpt is None else Path(ckpt)
        extractor = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        self.normalizes_waveform = bool(extractor["do_normalize"])
        self.model = CompressedSpeechModel.from_pretrained(folder)

    def get_downsample_rates(self, key: str | None = None) -> int:  # noqa: ARG002 - s3prl passes it
        """Return the samples between two frames."""
        return int(self.model.config.inputs_to_logits_ratio)

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, tuple[Tensor, ...]]:
        """Compute all hidden states, (batch, frames, dim) each, of waveforms (samples,) at 16 kHz."""
        waveforms = pad_sequence(list(wavs), batch_first=True)
        num_samples = waveforms.shape[1]
        shortest = min(MIN_SAMPLES, num_samples)
        lengths = torch.tensor([max(len(wav), shortest) for wav in wavs], device=waveforms.device)
        mask = torch.arange(num_samples, device=waveforms.device) < lengths[:, None]
        if self.normalizes_waveform:
            waveforms = _normalized(waveforms, mask)
        output = self.model(waveforms, attention_mask=mask.long(), output_hidden_states=True)
        return {"hidden_states": output.hidden_states}


def _normalized(waveforms: Tensor, mask: Tensor) -> Tensor:
    """Scale each utterance's valid samples to zero mean and unit variance. Padding stays zero."""
    count = mask.sum(1, keepdim=True).to(waveforms.dtype)
    centred = (waveforms - (waveforms * mask).sum(1, keepdim=True) / count) * mask
    variance = centred.square().sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + 1e-5)
