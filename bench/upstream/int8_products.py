"""The products of int8 linear layers on devices without integer kernels, from the same integers as on the CPU.

Source: torch's dynamically quantised linear layer (``ChooseQuantizationParams`` of its native code).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_SCALE = 6.1e-5
"""Smaller scales of the inputs are raised to this, as by torch's kernels."""


@torch.no_grad()
def int8_products(inputs: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, levels: int) -> Tensor:
    """Compute a linear layer with int8 weights and inputs rounded to integers.

    Integers are exact in every floating-point format of a GPU's matrix units, so only sums are rounded.

    Args:
        inputs: (..., inputs). One scale and one zero point are chosen for all of them.
        weight: (outputs, inputs) int8.
        scale: step of each output's weights, (outputs,).
        bias: (outputs,), or None.
        levels: number of steps between the smallest and the largest input, 127 or 255.

    Returns:
        (..., outputs) float32.
    """
    integers, step = rounded_inputs(inputs.float(), levels)
    with torch.autocast(inputs.device.type, enabled=False):
        products = F.linear(integers, weight.float()) * (step * scale.float())
        return products if bias is None else products + bias.float()


def rounded_inputs(inputs: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Round inputs to multiples of one step, with zero among them. No value is read from the device.

    Returns:
        The multiples, float32 integers, and the step, a scalar.
    """
    low, high = torch.aminmax(inputs)
    low, high = low.double().clamp(max=0.0), high.double().clamp(min=0.0)
    step = ((high - low) / levels).float()
    step = torch.where((1 / step).isfinite(), step, 0.1)
    stretch = (SMALLEST_SCALE / step).clamp(min=1.0)
    step = step.clamp(min=SMALLEST_SCALE)
    zero_point = (-low * stretch / step).round().clamp(0, levels).float()
    integers = ((inputs * (1 / step)).round() + zero_point).clamp(0, 255) - zero_point
    return integers, step
