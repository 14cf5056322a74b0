"""Reads the ONNX files of ``bench export``. They are untrusted: everything is checked before a runtime sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.files.json import parse_json_object
from bench.files.paths import expanded, is_possible
from bench.text import shortened
from bench.upstream.config import UpstreamConfig
from bench.upstream.conversion.files import require_file, validated

SUFFIX = ".onnx"
LARGEST_BYTES = 2**31 - 1
"""Largest file in protobuf's format."""
LARGEST_EXTERNAL_BYTES = 16 * 2**30
"""Most bytes of weights in further files."""
WAVEFORMS, LENGTHS, FRAME_LENGTHS = "waveforms", "lengths", "frame_lengths"
SHAPE = "shape"
"""Metadata key of the model's shape, an `UpstreamConfig` in JSON."""
PURPOSE = "bench profile FILE.onnx, with --latency for its speed"


@dataclass(frozen=True)
class OnnxFile:
    """A checked file, not yet loaded by a runtime."""

    path: Path
    config: UpstreamConfig
    """The shape of the exported model."""
    num_bytes: int
    """Size of the file, with its external weights."""


def is_onnx(reference: str | Path) -> bool:
    """Return whether a model reference names an ONNX file, by its suffix."""
    return str(reference).lower().endswith(SUFFIX) and not expanded(reference).is_dir()


def output_names(num_layers: int) -> list[str]:
    """Name the outputs of a graph: all hidden states, then the number of valid frames."""
    return [*(f"hidden_state_{index}" for index in range(num_layers + 1)), FRAME_LENGTHS]


def require_onnx_packages() -> None:
    """Refuse to go on without the packages that read and run ONNX files.

    Raises:
        UserError: a package is missing; names the extra that installs it.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"ONNX files need {error.name}, which is not installed. Install it with pip install 'superb-bench[onnx]'."
        ) from error
    # Lazy in some versions.
    import onnx.external_data_helper  # noqa: F401


def read_onnx(reference: str | Path) -> OnnxFile:
    """Check an ONNX file of ``bench export`` without running anything in it.

    Raises:
        UserError: the file is missing, too large, damaged, of another origin, has weights in files outside of its
            folder, or the packages of the extra ``onnx`` are not installed.
    """
    require_onnx_packages()
    path = expanded(reference)
    _require_size(path)
    model = _parsed(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if SHAPE not in metadata:
        raise UserError(
            f"Expected an ONNX file of bench export, with {SHAPE!r} in its metadata. {_where(path)} has none. Export "
            "the model again."
        )
    config = validated(UpstreamConfig, parse_json_object(metadata[SHAPE], f"{SHAPE} of {_where(path)}"), _where(path))
    _require_interface(model.graph, config, path)
    return OnnxFile(path, config, path.stat().st_size + _external_bytes(model, path))


def refused(reference: str) -> UserError:
    """Explain why a command that needs a model's weights does not take an ONNX file."""
    return UserError(
        f"Expected a model. {shortened(reference, 120)} is an ONNX file: other programs run it, and here it is for "
        f"{PURPOSE}. Name the model that it was exported from."
    )


def damaged(path: Path, reason: object) -> UserError:
    """Explain that a file cannot be used."""
    first = next(iter(str(reason).strip().splitlines()), "")
    return UserError(
        f"Expected an ONNX file. {_where(path)} cannot be used ({shortened(first, 120)}). Was it copied completely? "
        "Export it again."
    )


def _require_size(path: Path) -> None:
    require_file(path, "an ONNX file")
    if not path.exists():
        raise UserError(f"Expected an ONNX file. Found nothing at {_where(path)}. Correct the path.")
    if path.stat().st_size > LARGEST_BYTES:
        raise UserError(
            f"Expected an ONNX file of 2 GiB at most. {_where(path)} is larger. Is it another kind of file?"
        )


def _parsed(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load_model(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise damaged(path, error) from error


def _require_interface(graph: Any, config: UpstreamConfig, path: Path) -> None:
    from onnx import TensorProto

    weights = {tensor.name for tensor in graph.initializer}
    inputs = {
        value.name: (value.type.tensor_type.elem_type, len(value.type.tensor_type.shape.dim))
        for value in graph.input
        if value.name not in weights
    }
    if inputs != {WAVEFORMS: (TensorProto.FLOAT, 2), LENGTHS: (TensorProto.INT64, 1)}:
        raise UserError(
            f"Expected the inputs {WAVEFORMS} (batch, samples) float32 and {LENGTHS} (batch,) int64 in {_where(path)}. "
            f"Found {shortened(', '.join(inputs) or 'none')}. Export the model again."
        )
    outputs = [value.name for value in graph.output]
    if outputs != output_names(config.num_layers):
        raise UserError(
            f"Expected {config.num_layers + 1} hidden states and {FRAME_LENGTHS} as outputs of {_where(path)}. Found "
            f"{shortened(', '.join(outputs) or 'none')}. Export the model again."
        )


def _external_bytes(model: Any, path: Path) -> int:
    """Count the bytes of external weights, and refuse those outside of the file's folder."""
    folder = path.resolve().parent
    files = {_external_file(location, folder, path) for location in _external_locations(model)}
    total = sum(file.stat().st_size for file in files)
    if total > LARGEST_EXTERNAL_BYTES:
        raise UserError(f"Expected at most 16 GiB of weights. Found more in files named by {_where(path)}.")
    return total


def _external_file(location: str, folder: Path, path: Path) -> Path:
    file = (folder / location).resolve() if is_possible(location) else folder
    if not file.is_file() or folder not in file.parents:
        raise UserError(
            f"Expected weights in the folder of {_where(path)}. Found them in {shortened(repr(location), 60)}, "
            "which is outside or missing. They were not read. Export the model again."
        )
    return file


def _external_locations(message: Any) -> Iterator[str]:
    """Find the files that any tensor of a protobuf message names, in subgraphs and attributes too."""
    from onnx import TensorProto

    pending = [message]
    while pending:
        item = pending.pop()
        if isinstance(item, TensorProto):
            if item.data_location == TensorProto.EXTERNAL or item.external_data:
                entries: Mapping[str, str] = {entry.key: entry.value for entry in item.external_data}
                yield entries.get("location", "")
            continue
        for field, value in item.ListFields():
            if field.message_type is not None:
                pending += [value] if hasattr(value, "ListFields") else list(value)


def _where(path: Path) -> str:
    return shortened(str(path), 120)
