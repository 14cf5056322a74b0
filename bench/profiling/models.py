"""The models that can be profiled: all upstreams, and the ONNX files of ``bench export``."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor

from bench.upstream import (
    AnyUpstream,
    FbankUpstream,
    PluginUpstream,
    UpstreamConfig,
    check_reference,
    load_upstream,
    reference_config,
)
from bench.upstream.onnx_file import is_onnx, read_onnx
from bench.upstream.onnx_session import OnnxUpstream
from bench.upstream.reduced_linears import has_int8_kernels, has_int8_layers


class Timed(Protocol):
    """A model that can be timed."""

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Compute hidden states and frame lengths."""
        ...

    def to(self, device: str) -> object:
        """Prepare for a device, and for as many threads as torch uses now."""
        ...


AnyModel = AnyUpstream | OnnxUpstream
"""What `load_model` returns."""


def load_model(reference: str) -> AnyModel:
    """Load a model reference or an ONNX file.

    Raises:
        UserError: there is no such model, or its file is damaged.
    """
    return OnnxUpstream(read_onnx(reference)) if is_onnx(reference) else load_upstream(reference)


def check_model(reference: str) -> None:
    """Refuse what `load_model` would refuse, as cheaply as possible.

    Raises:
        UserError: see `load_model`.
    """
    if is_onnx(reference):
        read_onnx(reference)
    else:
        check_reference(reference)


def model_shape(reference: str) -> UpstreamConfig | None:
    """Return the shape of a model or of an exported one. None for ``fbank`` and plug-ins.

    Raises:
        UserError: see `load_model`.
    """
    return read_onnx(reference).config if is_onnx(reference) else reference_config(reference)


def is_timed_on(device: str, model: AnyModel) -> bool:
    """Whether times on a type of device say anything: ONNX files and int8 layers have fast kernels on the CPU only."""
    if isinstance(model, OnnxUpstream):
        return device == "cpu"
    return has_int8_kernels(device) or not has_int8_layers(model)


def engine_of(model: AnyModel) -> str:
    """Return what runs a model: ``torch``, or ``onnxruntime`` with its version."""
    return f"onnxruntime {model.version}" if isinstance(model, OnnxUpstream) else "torch"


def dtype_of(model: AnyModel) -> Literal["float32", "int8"]:
    """Return the type of a model's linear layers."""
    if isinstance(model, FbankUpstream | PluginUpstream):
        return "float32"
    config = model.file.config if isinstance(model, OnnxUpstream) else model.config
    return "int8" if config.has_int8 else "float32"
