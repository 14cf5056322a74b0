"""An LSTM whose backward pass on a CPU is linear in the length of the utterances."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


class PaddedLSTM(nn.LSTM):
    """``torch.nn.LSTM`` that pads packed sequences on a CPU, if it has one layer and ``batch_first``.

    PyTorch's packed CPU path slices the input projection at every frame, and each slice's gradient is as large as the
    whole batch, so its backward pass is quadratic in the length. Here each direction runs over the padded batch; for
    the backward direction, each utterance is reversed within its own length. Results and parameters equal those of
    ``nn.LSTM``.
    """

    def forward(self, packed: Any, hx: Any = None) -> Any:
        """Run over a packed batch.

        Args:
            packed: utterances (frames, input_size). A padded batch runs as in ``nn.LSTM``.
            hx: must be left out.

        Returns:
            The packed outputs of both directions, concatenated, and None instead of the last states, which are not
            computed on a CPU.
        """
        single_layer = self.num_layers == 1 and self.batch_first and self.proj_size == 0 and self.bias
        is_packed = isinstance(packed, PackedSequence)
        if not is_packed or packed.data.is_cuda or hx is not None or not single_layer:
            return super().forward(packed, hx)
        inputs, lengths = pad_packed_sequence(packed, batch_first=True)
        outputs = self._direction(inputs, "l0")
        if self.bidirectional:
            frames = torch.arange(inputs.shape[1])
            mirror = torch.where(frames < lengths[:, None], lengths[:, None] - 1 - frames, frames)[..., None]
            backward = self._direction(inputs.gather(1, mirror.expand_as(inputs)), "l0_reverse")
            outputs = torch.cat([outputs, backward.gather(1, mirror.expand_as(backward))], dim=2)
        repacked: PackedSequence = pack_padded_sequence(outputs, lengths, batch_first=True, enforce_sorted=False)
        return repacked, None

    def _direction(self, inputs: Tensor, suffix: str) -> Tensor:
        parameters = [getattr(self, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        state = inputs.new_zeros(1, inputs.shape[0], self.hidden_size)
        outputs: Tensor = torch.lstm(inputs, (state, state), parameters, True, 1, 0.0, self.training, False, True)[0]
        return outputs
