"""Files of models, read without trusting them: no pickle is ever executed, and what is torn is told in one line."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench.errors import UserError

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
    zipfile.BadZipFile,
)
"""What unpickling garbage or half a file raises, depending on where it was cut."""


_FORBIDDEN = re.compile(r"\bGLOBAL\b|unrecognized function|unsupported class|operand 149")
"""In torch's refusals to unpickle: anything but tensors and plain values; 149 is the mark of newer pickles of them."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: the file is missing, torn, or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Expected a model's {path.name} at {path}. It cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"Expected JSON in {path}. Found something else ({error}). Copy the model again.") from error
    if not isinstance(content, dict):
        raise UserError(f"Expected a JSON object in {path}. Found a {type(content).__name__}. Copy the model again.")
    return content


def validated(model: type[_Settings], content: object, where: object) -> _Settings:
    """Check what a file says of a model's shape against its typed description.

    Raises:
        UserError: the first field that is wrong, and where.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise UserError(
            f"Expected the description of a speech model in {where}. Found {field} to be wrong: {first['msg']}. "
            "Is it a model of another kind?"
        ) from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, on the CPU.

    Raises:
        UserError: the file is missing, torn, or something else.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        what = f"cannot be read ({first_line(error)})" if path.exists() else "is missing"
        raise UserError(
            f"Expected weights in the safetensors format. {path} {what}. Was it copied completely?"
        ) from error
    return tensors


def read_torch(path: Path) -> dict[str, Any]:
    """Read a file that ``torch.save`` wrote, on the CPU: tensors and plain values alone, never code.

    Raises:
        UserError: the file is missing, torn, no dictionary, or a pickle that would run code.
    """
    try:
        # Mapped storages are not read before they are used, which makes looking at a file cheap.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UNREADABLE as error:
        if not path.exists():
            raise UserError(f"Expected a checkpoint. Found nothing at {path}. Correct the path.") from error
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
    """Check that something read is a state dict.

    Raises:
        UserError: it holds anything but named tensors.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"Expected a state dict in {where}. Found a {type(content).__name__}. Save the weights alone.")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(
                f"Expected named tensors in {where}. Found a {type(value).__name__} under {key!r}. "
                "Save the weights alone."
            )
    return dict(content)


def _reason(error: BaseException) -> str:
    # Other messages than torch's own say little, or advise to switch this safeguard off.
    return first_line(error) if isinstance(error, RuntimeError) else type(error).__name__


def first_line(error: BaseException) -> str:
    """Shorten an error of a library to its first sentence."""
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0][:120] if lines else type(error).__name__
