"""Runs an exported ONNX file by ONNX Runtime, with the interface of an upstream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from bench.upstream.onnx_file import LENGTHS, WAVEFORMS, OnnxFile, damaged, output_names

_FATAL = 4


class OnnxUpstream:
    """An exported model on the CPU. It has no weights of its own in torch."""

    def __init__(self, file: OnnxFile) -> None:
        self.file = file
        self.stride = file.config.stride
        self.num_layers = file.config.num_layers
        self.dim = file.config.dim
        self._names = output_names(file.config.num_layers)
        self._num_threads = 0
        self._session: Any = None

    @property
    def version(self) -> str:
        """Version of the runtime."""
        import onnxruntime

        return str(onnxruntime.__version__)

    def to(self, device: str) -> Self:
        """Prepare the graph for as many threads as torch uses now.

        Raises:
            ValueError: the device is not the CPU.
            UserError: the runtime refuses the graph.
        """
        if device != "cpu":
            raise ValueError(f"ONNX files run on the CPU, not on {device}")
        if self._num_threads != torch.get_num_threads():
            self._num_threads = torch.get_num_threads()
            self._session = _session(self.file.path, self._num_threads)
        return self

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Compute the hidden states, with the shapes of `bench.contracts.Upstream`.

        Raises:
            UserError: the runtime fails.
        """
        if self._session is None:
            self.to("cpu")
        inputs = {WAVEFORMS: waveforms.numpy(), LENGTHS: lengths.numpy()}
        with _explaining(self.file.path):
            outputs = self._session.run(self._names, inputs)
        *states, frame_lengths = (torch.from_numpy(output) for output in outputs)
        return states, frame_lengths


def _session(path: Path, num_threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # The runtime would print failures, too, which are raised.
    options.log_severity_level = _FATAL
    # Idle threads sleep, so that they do not slow a model that is timed in turn.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with _explaining(path):
        # Without its fallback, which prints errors and tries the same again.
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"], enable_fallback=0)


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except _runtime_errors() as error:
        raise damaged(path, error) from error


def _runtime_errors() -> tuple[type[Exception], ...]:
    """List the runtime's errors, which have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.EPFail,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoModel,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
        # Of its bindings.
        RuntimeError,
        ValueError,
        MemoryError,
    )
