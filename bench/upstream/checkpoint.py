"""An upstream on disk: a folder of weights, configuration and a card, written completely or not at all."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
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
from bench.files.atomic import creating_folder
from bench.files.json import read_json_object
from bench.text import shortened
from bench.upstream.config import SCHEMA_VERSION, UpstreamConfig
from bench.upstream.conversion.files import read_safetensors, require_finite, validated
from bench.upstream.conversion.weights import Checkpoint
from bench.upstream.cost import count_dphubert_parameters, count_parameters
from bench.upstream.model import UpstreamModel
from bench.upstream.readme import README, readme_text

WEIGHTS = "model.safetensors"
MANIFEST = "config.json"
OWN_FILES = (WEIGHTS, MANIFEST, README)
"""Files that `save_upstream` itself writes."""
_BLOCK_BYTES = 1 << 20


class ParameterCounts(BaseModel):
    """The model's size, by each count that the field uses."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    trainable: Annotated[int, Field(strict=True, ge=0)]
    """Number of trainable weights. Our tables show this count."""
    dphubert: Annotated[int, Field(strict=True, ge=0)]
    """DPHuBERT's count: ``trainable`` plus the fixed scale of the last convolution's channels (``dummy_weight``)."""


class _Start(BaseModel):
    """The model that a compression started from."""

    reference: str
    weights_hash: str


class _Provenance(BaseModel):
    """The provenance entries that the suite reads. Others are allowed and unchecked."""

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
    """The content of ``config.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: int
    """Schema version of this file."""
    shape: UpstreamConfig
    """The full shape: with the weights, enough to build the model. The file stores ``reduced_linears`` (rank and
    dtype of linear layers that are not dense float32) under its own key next to ``shape``.
    """
    parameters: ParameterCounts
    """Derived from ``shape``."""
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 of ``model.safetensors``. Folders of earlier versions lack it, so their weights are not verified."""
    provenance: Annotated[dict[str, Any], AfterValidator(_readable)]
    """Origin of the model: teacher, compressor, recipe, seed, code version and data, or the converted source."""

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
    """Write an upstream to a new folder atomically: the complete folder appears, or nothing does.

    Args:
        model: not changed. Weights keep their dtype.
        folder: must be absent or empty. Nothing is ever overwritten.
        provenance: plain values, stored in ``config.json``.
        beside: files to copy into the folder, such as a training log.

    Raises:
        UserError: the folder is not empty, or cannot be written.
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
    try:
        with creating_folder(folder) as temporary:
            weights = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
            save_file(weights, temporary / WEIGHTS)
            manifest = manifest.model_copy(update={"weights_sha256": _sha256(temporary / WEIGHTS)})
            content = manifest.model_dump(mode="json")
            (temporary / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            for file in beside:
                shutil.copy2(file, temporary)
            card = readme_text(folder.name, model.config, (temporary / WEIGHTS).stat().st_size, manifest.provenance)
            (temporary / README).write_text(card, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"Expected to write a model to {folder}. Failed: {reason}. Is the disk full?") from error


def remove_killed_saves(folder: Path) -> None:
    """Remove the temporary files of killed `save_upstream` calls. No other process may be saving to this folder."""
    left = re.compile(rf"\.{re.escape(folder.name)}\.[a-z0-9_]{{8}}")
    for path in folder.parent.iterdir() if folder.parent.is_dir() else ():
        if left.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def is_suite_folder(folder: Path) -> bool:
    """Return whether `save_upstream` wrote this folder, completely or in part."""
    try:
        return "schema_version" in read_json_object(folder / MANIFEST)
    except UserError:
        return False


def read_manifest(folder: Path) -> Manifest:
    """Read a suite folder's ``config.json``.

    Raises:
        UserError: the file is missing, truncated, of another schema version or of an unknown architecture.
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
        UserError: see `read_manifest`; or the weights are missing, truncated, changed since they were written, NaN or
            infinite.
    """
    manifest = read_manifest(folder)
    path = folder / WEIGHTS
    weights = read_safetensors(path)
    checkpoint = Checkpoint(manifest.shape, weights, str(folder))
    require_finite(weights, path)
    if manifest.weights_sha256 not in (None, _sha256(path)):
        # If the weights belong to another model, the names of the differing weights explain more than a wrong hash.
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
        UserError: see `read_folder`; or the weights do not fit the shape.
    """
    return read_folder(folder).build()


def weights_hash(module: nn.Module) -> str:
    """Identify what a module computes in evaluation mode: the hexadecimal SHA-256 of its shape and weights."""
    digest = hashlib.sha256(type(module).__qualname__.encode())
    config = getattr(module, "config", None)
    if isinstance(config, UpstreamConfig):
        # Models with equal weights can still differ in normalisation, epsilon and head indices: hash the shape too.
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
