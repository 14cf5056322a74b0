"""The products of int8 linear layers on devices without integer kernels, from the same integers as on the CPU.

Source: torch's dynamically quantised linear layer (``ChooseQuantizationParams`` of its native code).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_SCALE = 6.1e-5
"""Smaller scales of the inputs are raised to this, as by torch's kernels."""
LARGEST_INPUT = 255
"""Inputs of a fixed range become integers from 0 to this."""


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
    return _products(integers, step, weight, scale, bias)


@torch.no_grad()
def static_products(
    inputs: Tensor, step: Tensor, zero_point: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None
) -> Tensor:
    """Compute a linear layer with int8 weights and inputs rounded to integers in a fixed range.

    Args:
        inputs: (..., inputs). Those outside of the range are clipped.
        step: distance of two rounded inputs, a scalar.
        zero_point: integer that stands for 0, a scalar from 0 to `LARGEST_INPUT`.
        weight: see `int8_products`.
        scale: see `int8_products`.
        bias: see `int8_products`.

    Returns:
        (..., outputs) float32.
    """
    offset = zero_point.float()
    integers = ((inputs.float() / step).round() + offset).clamp(0, LARGEST_INPUT) - offset
    return _products(integers, step, weight, scale, bias)


def _products(integers: Tensor, step: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    with torch.autocast(integers.device.type, enabled=False):
        products = F.linear(integers, weight.float()) * (step * scale.float())
        return products if bias is None else products + bias.float()


def step_and_zero_point(low: float, high: float) -> tuple[Tensor, Tensor]:
    """Divide a range of inputs, with zero in it, into `LARGEST_INPUT` steps.

    Returns:
        The step, a float32 scalar, and the integer that stands for 0, a uint8 scalar.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    step = max((high - low) / LARGEST_INPUT, SMALLEST_SCALE)
    return torch.tensor(step), torch.tensor(min(round(-low / step), LARGEST_INPUT), dtype=torch.uint8)


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
