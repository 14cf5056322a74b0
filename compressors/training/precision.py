"""How a stage computes: the precision that the device has units for and gets right, and the fused optimiser."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.contracts import Context
from bench.errors import UserError
from bench.upstream.matmul_precision import MatmulPrecision
from compressors.settings import TrainingConfig

logger = logging.getLogger(__name__)

LARGEST_ERROR = 0.03
"""Largest error of a bf16 convolution, relative to the norm of the fp32 result. A correct one has about 0.003."""


def has_bf16_units(device: str) -> bool:
    """Return whether the GPU, or the CPU (avx512_bf16 or amx_bf16), multiplies bf16 matrices in hardware."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def precision_on(config: TrainingConfig, context: Context) -> Literal["fp32", "bf16", "fp16"]:
    """Resolve ``precision`` for the device.

    Raises:
        UserError: ``fp16`` on the CPU, or ``bf16`` on a CPU that has no units for it.
    """
    has_bf16 = has_bf16_units(context.device)
    if config.precision == "auto":
        return "bf16" if has_bf16 else "fp32"
    if context.device != "cuda" and (config.precision == "fp16" or (config.precision == "bf16" and not has_bf16)):
        raise UserError(
            f"Expected precision=fp32 or precision=auto on this CPU. Found precision={config.precision}. "
            "Use --device cuda, or --set precision=auto."
        )
    return config.precision


def matmul_precision_on(config: TrainingConfig, device: str) -> MatmulPrecision:
    """Resolve ``float32_matmul_precision`` for a kind of device."""
    if device == "cpu":
        return "highest"
    return "high" if config.float32_matmul_precision == "auto" else config.float32_matmul_precision


def numerics(config: TrainingConfig, context: Context) -> dict[str, Any]:
    """Return how stages compute on the device, for the provenance of the model.

    A stage with a convolution that the device computes wrongly in bf16 warns and uses fp32 instead.
    """
    return {
        "device": context.device,
        "devices": context.devices,
        "precision": precision_on(config, context),
        "float32_matmul_precision": matmul_precision_on(config, context.device),
    }


def optimizer_options(device: torch.device, precision: str) -> dict[str, Any]:
    """Return additional options of AdamW: on a GPU, one kernel updates all weights.

    In fp16 it would unscale the gradients itself, after they have been clipped.
    """
    return {"fused": True} if device.type == "cuda" and precision != "fp16" else {}


def attention_kernels(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Choose the kernels of attention. The fused one for the CPU has a slow gradient in bf16."""
    if device.type == "cpu" and precision == "bf16":
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


@torch.no_grad()
def wrong_convolutions(module: nn.Module) -> list[str]:
    """Compare convolutions in bf16 with fp32 on noise, and name the wrong ones. Some devices are wrong silently.

    Grouped convolutions are skipped: they are positional, and the model computes them in fp32 on every CPU.
    """
    generator = torch.Generator().manual_seed(0)
    wrong = []
    for name, convolution in module.named_modules():
        if isinstance(convolution, nn.Conv1d) and convolution.groups == 1:
            frames = 4 * convolution.kernel_size[0] + 32
            noise = torch.randn((2, convolution.in_channels, frames), generator=generator).to(convolution.weight)
            # The class's forward: attached gates replace the instance's, and draw a new mask each time.
            forward = type(convolution).forward
            expected = forward(convolution, noise)
            with torch.autocast(noise.device.type, torch.bfloat16):
                error = (forward(convolution, noise).float() - expected).norm() / expected.norm()
            # Written so that NaN counts as wrong.
            if not error <= LARGEST_ERROR:
                wrong.append(name)
    return wrong


def stage_precision(
    module: nn.Module, config: TrainingConfig, context: Context, device: torch.device | None = None
) -> Literal["fp32", "bf16", "fp16"]:
    """Resolve ``precision`` as `precision_on` does, but to fp32 if a convolution of ``module`` is wrong in bf16.

    Args:
        module: the module, which a bf16 test moves to the device.
        config: names the precision.
        context: names the kind of device.
        device: device to train on; by default the first of its kind.
    """
    precision = precision_on(config, context)
    if precision == "bf16" and (wrong := wrong_convolutions(module.to(device or context.device))):
        logger.warning(
            "training in fp32, because this device computes convolutions wrongly in bf16: %s", ", ".join(wrong)
        )
        return "fp32"
    return precision
