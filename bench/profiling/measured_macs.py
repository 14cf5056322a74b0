"""MACs of a model that this project did not write, and so cannot derive from its shape."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.upstream.cost import ALL_SUPERB_LENGTHS

_FLOPS_PER_MAC = 2


def measured_macs(upstream: nn.Module) -> int:
    """Run a model on SUPERB's 32 utterance lengths, one at a time, and count its matrix products and convolutions.

    Source: `torch.utils.flop_counter`, which counts two operations for each multiply-accumulate. The suite's own models
    are counted from their shapes, by the same rule (`bench.upstream.cost.count_macs`).
    """
    device = next((parameter.device for parameter in upstream.parameters()), torch.device("cpu"))
    # The counter knows no fused attention kernels of the CPU, but their matrix products.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        for length in ALL_SUPERB_LENGTHS:
            upstream(torch.zeros(1, length, device=device), torch.tensor([length]))
    return int(counter.get_total_flops()) // _FLOPS_PER_MAC
