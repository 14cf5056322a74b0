"""The LSTM over padded batches is ``torch.nn.LSTM`` over packed ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tasks.bridge.padded_lstm import PaddedLSTM


def outputs_and_gradients(lstm: nn.LSTM, inputs: Tensor, lengths: Tensor) -> list[Tensor]:
    inputs = inputs.clone().requires_grad_()
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    outputs, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True)
    (outputs * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum().backward()
    assert inputs.grad is not None
    return [outputs, inputs.grad, *(parameter.grad for parameter in lstm.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [[9, 9], [3, 9, 1, 5], [7]])
def test_equals_torch_on_packed_sequences(lengths: list[int], bidirectional: bool) -> None:
    torch.manual_seed(0)
    reference = nn.LSTM(4, 6, batch_first=True, bidirectional=bidirectional).double()
    ours = PaddedLSTM(4, 6, batch_first=True, bidirectional=bidirectional).double()
    ours.load_state_dict(reference.state_dict())
    inputs = torch.randn(len(lengths), max(lengths), 4, dtype=torch.float64)
    expected = outputs_and_gradients(reference, inputs, torch.tensor(lengths))
    found = outputs_and_gradients(ours, inputs, torch.tensor(lengths))
    assert len(found) == len(expected)
    for ours_tensor, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours_tensor, theirs, rtol=1e-9, atol=1e-12)


def test_s3prl_s_heads_are_built_of_it() -> None:
    from tasks.bridge import s3prl_compat

    s3prl_compat.install()
    from s3prl.nn.rnn import RNNEncoder

    head = RNNEncoder(
        4,
        5,
        module="LSTM",
        proj_size=3,
        hidden_size=[2, 2],
        dropout=[0.0, 0.0],
        layer_norm=[False] * 2,
        proj=[False] * 2,
        sample_rate=[1, 1],
        sample_style="concat",
        bidirectional=True,
    )
    assert [type(layer.layer) for layer in head.rnns] == [PaddedLSTM, PaddedLSTM]
