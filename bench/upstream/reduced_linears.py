"""Linear layers that are not one dense float32 weight: low-rank, int8, or both."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from bench.errors import UserError
from bench.upstream.config import ReducedLinear, UpstreamConfig
from bench.upstream.int8_products import SMALLEST_SCALE, int8_products, static_products

WEIGHT_LEVELS = {"dynamic": 127, "static": 64}
"""Largest integer of a weight, by how inputs are rounded. Without VNNI, x86 adds pairs of products in 16 bits: they do
not overflow for 7 bits of the inputs and 8 of the weights, nor for 8 of the inputs and 7 of the weights."""
STATIC_ENGINES = ("x86", "fbgemm")
"""Engines of torch whose kernels take a fixed range of inputs. Others multiply the same integers in float32."""


class LowRankLinear(nn.Module):
    """Two linear layers that replace one, with ``rank`` features between them."""

    def __init__(self, down: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.down = down
        self.up = up

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        outputs: Tensor = self.up(self.down(inputs))
        return outputs


class Int8Linear(nn.Module):
    """A linear layer with int8 weights, symmetric about zero, that rounds its inputs to integers.

    On the CPU it uses torch's own kernels. ``dynamic`` ones choose one scale and zero point for all inputs of a call.
    On x86 they use 7 bits of the inputs, because sums of 8 bits would overflow on processors without VNNI. ``static``
    ones use 8 bits of a fixed range; their weights have 7. Other devices multiply the same integers; see
    `bench.upstream.int8_products`. There is no gradient.

    Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference
    (arXiv 1712.05877) section 2; torch's dynamically quantised linear layer for the kernels.
    """

    scale: Tensor
    input_scale: Tensor
    input_zero_point: Tensor

    def __init__(self, inputs: int, outputs: int, *, bias: bool, is_static: bool = False) -> None:
        super().__init__()
        self.is_static = is_static
        # A parameter, so that it is counted as one. Integer parameters need no gradient.
        self.weight = nn.Parameter(torch.zeros((outputs, inputs), dtype=torch.int8), requires_grad=False)
        self.register_buffer("scale", torch.ones(outputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        if is_static:
            self.register_buffer("input_scale", torch.ones(()))
            self.register_buffer("input_zero_point", torch.zeros((), dtype=torch.uint8))
        self._packed: Any = None
        self.register_load_state_dict_post_hook(lambda module, _keys: module._forget_packed())  # type: ignore[no-untyped-call]

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs), in float32."""
        if inputs.is_meta:
            return F.linear(inputs, self.weight.to(inputs.dtype), self.bias)
        return self._static(inputs) if self.is_static else self._dynamic(inputs)

    @property
    def input_step(self) -> Tensor:
        """Distance of two rounded inputs. One smaller than `quantised` ever writes is raised."""
        return self.input_scale.float().clamp(min=SMALLEST_SCALE)

    def _static(self, inputs: Tensor) -> Tensor:
        step, zero_point = self.input_step, self.input_zero_point
        has_kernels = has_int8_kernels(inputs.device.type)
        if not has_kernels or torch.backends.quantized.engine not in STATIC_ENGINES:
            return static_products(inputs, step, zero_point, self.weight, self.scale, self.bias)
        if self._packed is None:
            self._packed = (step.item(), int(zero_point), self._pack())
        outputs: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            inputs.float().contiguous(), *self._packed
        )
        return outputs

    def _dynamic(self, inputs: Tensor) -> Tensor:
        # QNNPACK sums 8 bits without overflow, and warns when asked for 7.
        uses_7_bits = torch.backends.quantized.engine != "qnnpack"
        if not has_int8_kernels(inputs.device.type):
            return int8_products(inputs, self.weight, self.scale, self.bias, 127 if uses_7_bits else 255)
        if self._packed is None:
            self._packed = self._pack()
        outputs: Tensor = torch.ops.quantized.linear_dynamic(inputs.float(), self._packed, uses_7_bits)
        return outputs

    def _pack(self) -> Any:
        require_int8_kernels()
        scale = self.scale.float()
        weight = _quantised_tensor(self.weight * scale[:, None], scale)
        bias = None if self.bias is None else self.bias.detach().float()
        return torch.ops.quantized.linear_prepack(weight, bias)

    def _forget_packed(self) -> None:
        self._packed = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast like `torch.nn.Module`."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._forget_packed()
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Leave the packed weights out of copies, because they are not tensors."""
        return self.__dict__ | {"_packed": None}


def has_int8_layers(model: nn.Module) -> bool:
    """Whether a model has int8 layers."""
    return any(isinstance(module, Int8Linear) for module in model.modules())


def has_int8_kernels(device: str) -> bool:
    """Whether torch has integer kernels for a type of device. Elsewhere, int8 layers are no faster than float32."""
    return device == "cpu"


def require_runnable(shape: UpstreamConfig) -> None:
    """Refuse a shape that does not run on this machine's CPU.

    Raises:
        UserError: it has int8 layers, and this build of torch has no kernels for them.
    """
    if shape.has_int8:
        require_int8_kernels()


def require_int8_kernels() -> None:
    """Refuse a build of torch without int8 kernels for the CPU.

    Raises:
        UserError: it has none.
    """
    if torch.backends.quantized.engine == "none":
        raise UserError(
            "int8 linear layers need torch's quantised kernels (x86, fbgemm, onednn or qnnpack). Found none in this "
            "build of torch. Install a build that has them, or use a model without int8."
        )


def reduced_linear(inputs: int, outputs: int, reduced: ReducedLinear) -> nn.Module:
    """Build a reduced linear layer with a bias. The caller fills in its weights."""
    if reduced.rank is None:
        return _linear(inputs, outputs, reduced, bias=True)
    return LowRankLinear(
        _linear(inputs, reduced.rank, reduced, bias=False), _linear(reduced.rank, outputs, reduced, bias=True)
    )


def _linear(inputs: int, outputs: int, reduced: ReducedLinear, *, bias: bool) -> nn.Module:
    if reduced.dtype == "int8":
        return Int8Linear(inputs, outputs, bias=bias, is_static=reduced.activations == "static")
    return nn.Linear(inputs, outputs, bias=bias)


def quantised_weight(weight: Tensor, levels: int = WEIGHT_LEVELS["dynamic"]) -> tuple[Tensor, Tensor]:
    """Round a weight (outputs, inputs) to int8, symmetrically, with one scale per output from its largest value.

    Returns:
        The int8 weight of the same shape, from ``-levels`` to ``levels``, and each output's scale, (outputs,) float32.
    """
    weight = weight.detach().float()
    # For an output whose weights are all zero, any scale is right.
    scale = (weight.abs().amax(dim=1) / levels).clamp(min=torch.finfo(torch.float32).tiny)
    return _quantised_tensor(weight, scale).int_repr(), scale


def _quantised_tensor(weight: Tensor, scale: Tensor) -> Tensor:
    zero_points = torch.zeros_like(scale, dtype=torch.long)
    with warnings.catch_warnings():
        # The int8 kernels take no other kind of tensor.
        warnings.filterwarnings("ignore", message=r"torch\.quantize_per_tensor", category=UserWarning)
        return torch.quantize_per_channel(weight, scale, zero_points, 0, torch.qint8)
