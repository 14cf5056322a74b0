"""ONNX files: one graph with dynamic batch and time, checked against torch before it is kept."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from bench.errors import UserError
from bench.exports.onnx_graph import exported_graph
from bench.exports.onnx_metadata import metadata_of
from bench.exports.options import DEFAULT_OPSET, ExportOptions
from bench.exports.subject import Subject
from bench.upstream import UpstreamModel
from bench.upstream.onnx_file import LARGEST_BYTES, read_onnx
from bench.upstream.onnx_session import OnnxUpstream
from bench.upstream.reduction import dequantised, quantised

logger = logging.getLogger(__name__)

LARGEST_ERROR = {"float32": 1e-4, "int8": 0.3}
"""Largest norm of the difference of any hidden state, divided by the norm of torch's state. Correct graphs have about
1e-6 in float32. With int8 inputs the error depends on the weights and on the processor's instructions: a wrong graph
has about 1."""
_GRAPH_BYTES = 16 * 2**20
"""Room for everything in the file except weights."""


def write(subject: Subject, destination: Path, options: ExportOptions) -> None:
    """Write an ONNX file.

    Raises:
        UserError: the file would exceed 2 GiB, or its outputs differ from torch's.
    """
    import onnx

    model = subject.model
    if options.int8:
        is_int8 = {path for path, reduced in model.config.reduced_linears if reduced.dtype == "int8"}
        model = quantised(model, model.config.linear_sizes.keys() - is_int8)
    _require_small(model)
    graph = exported_graph(model, options.opset or DEFAULT_OPSET)
    onnx.helper.set_model_props(graph, metadata_of(model.config, subject))
    onnx.save_model(graph, destination)
    del graph
    _require_equal(destination, model)


def _require_small(model: UpstreamModel) -> None:
    num_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    if num_bytes > LARGEST_BYTES - _GRAPH_BYTES:
        raise UserError(
            f"Expected a model of 2 GiB at most, as in one ONNX file. Found {num_bytes / 2**30:.1f} GiB of weights. "
            "Export it with --int8, or compress it further."
        )


def _require_equal(path: Path, model: UpstreamModel) -> None:
    """Compare the graph's outputs with those of the model. Layers that measure their inputs compute in float32."""
    dtype = "int8" if model.config.has_int8 else "float32"
    largest = LARGEST_ERROR[dtype]
    runtime = OnnxUpstream(read_onnx(path))
    expected_of = dequantised(model, model.config.dynamic_int8).eval()
    errors = [_relative_error(runtime, expected_of, *inputs) for inputs in _check_inputs(model.config.window)]
    logger.info("largest relative error of a hidden state against torch's: %.1e (%s)", max(errors), dtype)
    if not max(errors) <= largest:
        raise UserError(
            f"The exported graph does not compute what the model does: a hidden state differs by a relative "
            f"{max(errors):.1e}. Expected {largest:.0e} at most. Nothing was written. Try another --opset, or another "
            "version of onnxruntime."
        )


def _check_inputs(window: int) -> list[tuple[Tensor, Tensor]]:
    """Make noise of three lengths, the first with a single frame, and a padded batch."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for lengths in ([window], [8_000], [window + 20_001], [16_000, window, 9_999]):
        waveforms = 0.1 * torch.randn(len(lengths), max(lengths), generator=generator)
        for waveform, length in zip(waveforms, lengths, strict=True):
            waveform[length:] = 0
        found.append((waveforms, torch.tensor(lengths)))
    return found


def _relative_error(runtime: OnnxUpstream, model: UpstreamModel, waveforms: Tensor, lengths: Tensor) -> float:
    """Return the largest relative error of any hidden state over valid frames. Infinite if the frames differ."""
    with torch.inference_mode():
        states, frame_lengths = model(waveforms, lengths)
    found, found_lengths = runtime(waveforms, lengths)
    if not torch.equal(found_lengths, frame_lengths) or [each.shape for each in found] != [s.shape for s in states]:
        return float("inf")
    valid = torch.arange(states[0].shape[1]) < frame_lengths[:, None]
    pairs = zip(found, states, strict=True)
    errors = [(theirs[valid] - ours[valid]).norm() / ours[valid].norm().clamp(min=1e-6) for theirs, ours in pairs]
    # NaN counts as the largest error.
    return float(torch.stack(errors).nan_to_num(nan=float("inf")).max())
