"""An upstream as an ONNX graph, by torch's exporter."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.utils import parametrize

from bench.errors import UserError
from bench.upstream import UpstreamModel
from bench.upstream.onnx_file import LENGTHS, WAVEFORMS, output_names
from bench.upstream.reduced_linears import Int8Linear

if TYPE_CHECKING:
    from onnx import ModelProto

_CAPTURED_SAMPLES = 6_000


def exported_graph(model: UpstreamModel, opset: int) -> ModelProto:
    """Export a model with dynamic batch and time.

    Args:
        model: in evaluation mode on the CPU; not changed. Int8 layers keep their integers and scales.
        opset: version of ONNX's operators.

    Returns:
        A graph with the inputs ``waveforms`` (batch, samples) float32 and ``lengths`` (batch,) int64, and all hidden
        states and the frame lengths as outputs.

    Raises:
        UserError: torch's exporter cannot express the model with these operators.
    """
    batch, samples = Dim("batch"), Dim("samples", min=model.config.window)
    inputs = (torch.zeros(2, _CAPTURED_SAMPLES + model.config.window), torch.tensor([_CAPTURED_SAMPLES, 5_000]))
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                _Graph(_prepared(model)),
                inputs,
                dynamo=True,
                opset_version=opset,
                input_names=[WAVEFORMS, LENGTHS],
                output_names=output_names(model.num_layers),
                dynamic_shapes={WAVEFORMS: {0: batch, 1: samples}, LENGTHS: {0: batch}},
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise UserError(
                f"torch's exporter cannot write this model with --opset {opset}. Try another, or another torch."
            ) from error
    assert program is not None
    graph: ModelProto = program.model_proto
    _require_opset(graph, opset)
    _strip(graph)
    return graph


class _Graph(nn.Module):
    """A model with a flat tuple of outputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        states, frame_lengths = self.model(waveforms, lengths)
        return (*states, frame_lengths)


class _OnnxInt8Linear(nn.Module):
    """An int8 layer with ``dynamic`` inputs in ONNX's operators: the products are summed as integers.

    Outside of the exporter it returns zeros.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: Int8Linear) -> None:
        super().__init__()
        self.register_buffer("weight", linear.weight.detach().t().contiguous())
        self.register_buffer("scale", linear.scale.detach().float())
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        rounded, scale, zero_point = torch.onnx.ops.symbolic_multi_out(
            "DynamicQuantizeLinear",
            (inputs,),
            dtypes=(torch.uint8, torch.float32, torch.uint8),
            shapes=(inputs.shape, (), ()),
        )
        sums = torch.onnx.ops.symbolic(
            "MatMulInteger",
            (rounded, self.weight, zero_point),
            dtype=torch.int32,
            shape=(*inputs.shape[:-1], self.weight.shape[1]),
        )
        outputs = sums.to(torch.float32) * (scale * self.scale)
        return outputs if self.bias is None else outputs + self.bias


class _OnnxStaticInt8Linear(nn.Module):
    """An int8 layer with ``static`` inputs in ONNX's operators: pairs of ``QuantizeLinear`` and ``DequantizeLinear``.

    Runtimes with integer kernels replace the pairs and the product between them.
    """

    weight: Tensor
    scale: Tensor
    input_scale: Tensor
    input_zero_point: Tensor

    def __init__(self, linear: Int8Linear) -> None:
        super().__init__()
        self.register_buffer("weight", linear.weight.detach().t().contiguous())
        self.register_buffer("scale", linear.scale.detach().float())
        self.register_buffer("input_scale", linear.input_step.detach())
        self.register_buffer("input_zero_point", linear.input_zero_point.detach())
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        rounded = torch.onnx.ops.symbolic(
            "QuantizeLinear",
            (inputs, self.input_scale, self.input_zero_point),
            dtype=torch.uint8,
            shape=inputs.shape,
        )
        values = torch.onnx.ops.symbolic(
            "DequantizeLinear",
            (rounded, self.input_scale, self.input_zero_point),
            dtype=torch.float32,
            shape=inputs.shape,
        )
        weight = torch.onnx.ops.symbolic(
            "DequantizeLinear",
            (self.weight, self.scale),
            {"axis": 1},
            dtype=torch.float32,
            shape=self.weight.shape,
        )
        outputs = values @ weight
        return outputs if self.bias is None else outputs + self.bias


def _prepared(model: UpstreamModel) -> UpstreamModel:
    model = copy.deepcopy(model).requires_grad_(False)
    parametrize.remove_parametrizations(model.positional_convolution.conv, "weight")
    for path, module in list(model.named_modules()):
        if isinstance(module, Int8Linear):
            as_onnx = _OnnxStaticInt8Linear if module.is_static else _OnnxInt8Linear
            model.set_submodule(path, as_onnx(module))
    return model


def _require_opset(graph: ModelProto, opset: int) -> None:
    found = {entry.domain: entry.version for entry in graph.opset_import}
    if found.get("") != opset:
        raise UserError(
            f"Expected torch's exporter to write opset {opset}. It wrote {found.get('')}. Choose that --opset."
        )


def _strip(graph: ModelProto) -> None:
    """Remove what the exporter notes about our source code, with the paths of this machine."""
    for message in (graph.graph, *graph.graph.node, *graph.graph.input, *graph.graph.output):
        del message.metadata_props[:]
        message.doc_string = ""
    graph.graph.name = "upstream"
    # Runtimes infer inner shapes. The exporter's have formulas for names.
    del graph.graph.value_info[:]
    for states in graph.graph.output[:-1]:
        states.type.tensor_type.shape.dim[1].dim_param = "frames"


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's notes on packages that are not used here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
