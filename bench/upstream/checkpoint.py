"""An upstream on disk: a folder of ``model.safetensors`` and ``config.json``, whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from bench.errors import UserError
from bench.files.json import read_json_object
from bench.text import shortened
from bench.upstream.config import SCHEMA_VERSION, UpstreamConfig
from bench.upstream.conversion.files import read_safetensors, require_finite, validated
from bench.upstream.conversion.weights import Checkpoint
from bench.upstream.cost import count_dphubert_parameters, count_parameters
from bench.upstream.model import UpstreamModel

WEIGHTS = "model.safetensors"
MANIFEST = "config.json"
_BLOCK_BYTES = 1 << 20


class ParameterCounts(BaseModel):
    """How large the model is, by each count that the field uses."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    trainable: Annotated[int, Field(strict=True, ge=0)]
    """Every trainable weight; what our tables show."""
    dphubert: Annotated[int, Field(strict=True, ge=0)]
    """DPHuBERT's count: ``trainable`` and the fixed scale of the last convolution's channels (``dummy_weight``)."""


class _Start(BaseModel):
    """The model that a compression started from."""

    reference: str
    weights_hash: str


class _Provenance(BaseModel):
    """Entries of a provenance that the suite reads again; all others are free."""

    model_config = ConfigDict(extra="allow", strict=True)

    compressor: str = "none"
    teacher: str | None = None
    teacher_weights_hash: str | None = None
    teacher_params: Annotated[int, Field(gt=0)] | None = None
    target_sparsity: Annotated[float, Field(le=1, allow_inf_nan=False)] | None = None
    audio_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    recipe: dict[str, Any] = {}
    start: _Start | None = Field(default=None, alias="from")

    @model_validator(mode="after")
    def _has_a_recipe_for_each_part(self) -> _Provenance:
        if "+" in self.compressor and not all(isinstance(part, dict) for part in self.recipe.values()):
            raise ValueError("the recipe of a stack needs the settings of each part")
        return self


def _readable(provenance: dict[str, Any]) -> dict[str, Any]:
    try:
        _Provenance.model_validate(provenance)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    return provenance


class Manifest(BaseModel):
    """What ``config.json`` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: int
    """Of this file."""
    shape: UpstreamConfig
    """The whole shape; with the weights, all there is to know to build the model. Its ``reduced_linears``, rank and
    dtype of linear layers that are not dense float32, stand beside it in the file."""
    parameters: ParameterCounts
    """Derived from ``shape``."""
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 of ``model.safetensors``. Absent in folders of earlier versions, whose weights are not compared."""
    provenance: Annotated[dict[str, Any], AfterValidator(_readable)]
    """Where the model comes from: teacher, compressor, recipe, seed, code version, data; or what was converted."""

    @model_validator(mode="before")
    @classmethod
    def _take_reduced_linears(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        content = dict(content)
        reduced = content.pop("reduced_linears", None)
        if reduced and isinstance(content.get("shape"), dict):
            content["shape"] = content["shape"] | {"reduced_linears": reduced}
        return content

    @model_serializer(mode="wrap")
    def _put_reduced_linears_beside(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        if self.weights_sha256 is None:
            del content["weights_sha256"]
        shape = content["shape"]
        beside = {"reduced_linears": shape.pop("reduced_linears")}
        shape.pop("schema_version")
        return {key: content[key] for key in ("schema_version", "shape")} | beside | content


def save_upstream(
    model: UpstreamModel, folder: Path, provenance: Mapping[str, object], beside: Iterable[Path] = ()
) -> None:
    """Write an upstream to a new folder, atomically: it appears complete, on disk, or not at all.

    Args:
        model: stays as it is; weights are written in their own dtype.
        folder: must not exist, or be empty. Nothing is ever overwritten.
        provenance: plain values, kept in ``config.json``.
        beside: files to copy into the folder, such as a training log.

    Raises:
        UserError: the folder holds something already, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"Expected a new folder for the model. Found something at {folder}. Choose another, or delete it."
        )
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        shape=model.config,
        parameters=ParameterCounts(
            trainable=count_parameters(model.config), dphubert=count_dphubert_parameters(model.config)
        ),
        provenance=dict(provenance),
    )
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        weights = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        save_file(weights, temporary / WEIGHTS)
        content = manifest.model_copy(update={"weights_sha256": _sha256(temporary / WEIGHTS)}).model_dump(mode="json")
        (temporary / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        for file in beside:
            shutil.copy2(file, temporary)
        # `mkdtemp` and safetensors make what the owner alone can read.
        umask = _umask()
        for path in (*temporary.iterdir(), temporary):
            path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
            _synchronise(path)
        temporary.replace(folder)
        _synchronise(folder.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"Expected to write a model to {folder}. Failed: {reason}. Is the disk full?") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_killed_saves(folder: Path) -> None:
    """Remove what `save_upstream` left of a model where it was killed; nobody else may be saving there."""
    left = re.compile(rf"\.{re.escape(folder.name)}\.[a-z0-9_]{{8}}")
    for path in folder.parent.iterdir() if folder.parent.is_dir() else ():
        if left.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def is_suite_folder(folder: Path) -> bool:
    """Say whether a folder is (or was meant to be) one of `save_upstream`'s."""
    try:
        return "schema_version" in read_json_object(folder / MANIFEST)
    except UserError:
        return False


def read_manifest(folder: Path) -> Manifest:
    """Read a suite folder's ``config.json``.

    Raises:
        UserError: missing, torn, of another schema version or an unknown architecture.
    """
    path = folder / MANIFEST
    content = read_json_object(path)
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UserError(
            f"Expected schema version {SCHEMA_VERSION} in {path}. Found {shortened(version, 40)}. "
            "Was the model written by another version of superb-bench?"
        )
    return validated(Manifest, content, path)


def read_folder(folder: Path) -> Checkpoint:
    """Read a suite folder without building the model.

    Raises:
        UserError: as in `read_manifest`; weights missing, torn, changed since they were written, NaN or infinite.
    """
    manifest = read_manifest(folder)
    path = folder / WEIGHTS
    weights = read_safetensors(path)
    checkpoint = Checkpoint(manifest.shape, weights, str(folder))
    require_finite(weights, path)
    if manifest.weights_sha256 not in (None, _sha256(path)):
        # Weights of another model are better described by what differs.
        checkpoint.check()
        raise UserError(
            f"Expected the weights that were written to {path}. Found others: their SHA-256 differs from "
            f"weights_sha256 in {MANIFEST}. The file was damaged or changed. Copy or make the model again; delete that "
            "entry only if the change was meant."
        )
    return checkpoint


def load_folder(folder: Path) -> UpstreamModel:
    """Load a suite folder, in evaluation mode.

    Raises:
        UserError: as in `read_folder`; weights that do not fit the shape.
    """
    return read_folder(folder).build()


def weights_hash(module: nn.Module) -> str:
    """Identify what a module computes in evaluation mode: SHA-256 over its shape and weights, in hexadecimal."""
    digest = hashlib.sha256(type(module).__qualname__.encode())
    config = getattr(module, "config", None)
    if isinstance(config, UpstreamConfig):
        # Equal weights may still be another model: normalisation, epsilon and the indices of heads are not in them.
        dense = set() if config.reduced_linears else {"reduced_linears"}
        digest.update(config.model_dump_json(exclude={"dropout", "schema_version"} | dense).encode())
    for key, value in sorted(module.state_dict().items()):
        array = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(array.numpy().data)
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
