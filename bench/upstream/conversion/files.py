"""Reads untrusted model files: no pickle is ever executed, and damaged files give a one-line error."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench.errors import UserError
from bench.text import shortened
from bench.upstream.conversion.archives import check_archive, check_pickle
from bench.upstream.conversion.unreadable import recognised_checkpoint, recognised_file

_Settings = TypeVar("_Settings", bound=BaseModel)

UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
    AssertionError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
"""Errors of unpickling random bytes or a truncated file, depending on where it was cut."""

_PLAIN_TYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
}

_FORBIDDEN = re.compile(r"\bGLOBAL\b|unrecognized function|unsupported class|operand 149")
"""Marks torch's refusals to unpickle anything but tensors and plain values. 149 is an opcode of newer pickles."""


def require_file(path: Path, what: str) -> None:
    """Refuse a path that exists but is no regular file: reading a pipe may never end.

    Raises:
        UserError: a folder, a pipe or a device.
    """
    if path.exists() and not path.is_file():
        kind = "folder" if path.is_dir() else "pipe or device"
        raise UserError(f"Expected {what} at {path}. Found a {kind}. Copy the model again.")


def validated(model: type[_Settings], content: object, where: object) -> _Settings:
    """Validate a file's description of a model's shape.

    Raises:
        UserError: names the first wrong field, and where it is.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = shortened(".".join(str(part)[:80] for part in first["loc"])) or "the whole"
        raise UserError(
            f"Expected the description of a speech model in {where}. Found {field} to be wrong: "
            f"{shortened(first['msg'], 120)}{_found(first['input'])}. Is it a model of another kind?"
        ) from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, on the CPU.

    Raises:
        UserError: the file is missing, truncated, or of another format.
    """
    require_file(path, "weights in the safetensors format")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, *UNREADABLE) as error:
        what = f"cannot be read ({first_line(error)})" if path.exists() else "is missing"
        raise UserError(
            f"Expected weights in the safetensors format. {path} {what}. Was it copied completely?"
        ) from error
    return only_tensors(tensors, path)


def read_torch(path: Path) -> dict[str, Any]:
    """Read a file of ``torch.save`` on the CPU: only tensors and plain values, never code.

    Raises:
        UserError: the file is missing, damaged, not in PyTorch's format, not a dictionary, or a pickle that would run
            code.
    """
    if not path.exists():
        raise UserError(f"Expected a checkpoint. Found nothing at {path}. Correct the path.")
    require_file(path, "a checkpoint")
    other = recognised_file(path)
    if other is not None:
        raise UserError(f"Expected a checkpoint of PyTorch. {path} {other}")
    is_archive = zipfile.is_zipfile(path)
    check_archive(path) if is_archive else check_pickle(path)
    try:
        # Mapped storages are read only when they are used, so inspecting a file is cheap.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except UNREADABLE as error:
        known = recognised_checkpoint(path)
        if known is not None:
            raise UserError(f"Expected plain tensors and settings. {path} {known}") from error
        if _FORBIDDEN.search(str(error)):
            raise UserError(
                f"Expected tensors and plain values in {path}. Found code in it, which was not executed. "
                "Save the weights alone, as a state dict."
            ) from error
        raise UserError(
            f"Expected a file written by torch.save. {path} cannot be read as one ({_reason(error)}), "
            "and nothing in it was executed. Was it copied completely?"
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"Expected a dictionary in {path}. Found a {type(content).__name__}. Is it another kind of file?"
        )
    return content


def only_tensors(content: object, where: object) -> dict[str, Tensor]:
    """Return the content if it is a state dict.

    Raises:
        UserError: it holds anything but named tensors, or a tensor that is larger than its stored data.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"Expected a state dict in {where}. Found a {type(content).__name__}. Save the weights alone.")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(
                f"Expected named tensors in {where}. Found a {type(value).__name__} under {shortened(repr(key))}. "
                "Save the weights alone."
            )
        if not _is_plain(value):
            raise UserError(
                f"Expected plain tensors in {where}. {shortened(key)} is sparse, quantised, of {value.dtype}, without "
                "numbers, or larger than the numbers stored for it. Save it as a dense float32 tensor."
            )
    return dict(content)


def require_finite(weights: Mapping[str, Tensor], where: object) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        UserError: names the first such tensor.
    """
    for key, value in weights.items():
        if value.is_floating_point() and value.numel() and not _is_finite(value):
            kind = "NaN" if bool(value.isnan().any()) else "infinity"
            raise UserError(
                f"Expected finite weights in {where}. Found {kind} in {shortened(key)}. Export the model again, in "
                "float32 if it overflowed in half precision."
            )


def _is_finite(value: Tensor) -> bool:
    # Both extremes are NaN if any value is. This takes no memory beyond the tensor.
    low, high = (value.float() if value.element_size() < 4 else value).aminmax()
    return bool(low.isfinite() and high.isfinite())


def _is_plain(value: Tensor) -> bool:
    return (
        value.layout == torch.strided
        and value.dtype in _PLAIN_TYPES
        and value.device.type == "cpu"
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _found(value: object) -> str:
    return "" if value is None or isinstance(value, Mapping | list | tuple) else f", found {shortened(repr(value), 40)}"


def _reason(error: BaseException) -> str:
    # Other messages explain little, or advise turning this safeguard off.
    return first_line(error) if isinstance(error, RuntimeError) else type(error).__name__


def first_line(error: BaseException) -> str:
    """Shorten a library's error to its first sentence."""
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0][:120] if lines else type(error).__name__
