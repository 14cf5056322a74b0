"""Recognises unsupported formats of speech models, and says how to use their models."""

from __future__ import annotations

import io
import logging
import pickletools
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.upstream.conversion.archives import BROKEN_ARCHIVE

logger = logging.getLogger(__name__)

_PICKLE_BYTES = 1_000_000
"""Bytes of a pickle to search. The names of settings are at its beginning."""

_KEEP_WEIGHTS = (
    "Name a file of its weights alone. If you trust it: python -c \"import torch; torch.save(torch.load('FILE', "
    "weights_only=False)['{key}'], 'weights.pt')\". If not, use the script in docs/models.md"
)
_WAY = (
    "Use the same model by its Hugging Face id (such as {ids}), or convert it with transformers 4 "
    "(convert_{script}_checkpoint_to_pytorch.py) and name the folder that this writes"
)


@dataclass(frozen=True)
class _Format:
    """A kind of checkpoint."""

    title: str
    needs: frozenset[str]
    """Names that all its files contain."""
    way: str
    """What the user can do."""
    any_of: frozenset[str] = frozenset()
    """If not empty, its files contain at least one of these names."""

    def fits(self, names: Collection[str]) -> bool:
        return self.needs <= set(names) and (not self.any_of or not self.any_of.isdisjoint(names))

    def advice(self) -> str:
        return f"is {self.title}. {self.way}."


_CHECKPOINTS = (
    _Format(
        "a checkpoint of s3prl whose settings cannot be read",
        frozenset({"model_cfg", "task_cfg", "model_weight"}),
        _KEEP_WEIGHTS.format(key="model_weight"),
    ),
    _Format(
        "a checkpoint of s3prl's distiller",
        frozenset({"Distiller", "Config"}),
        _WAY.format(ids="ntu-spml/distilhubert", script="distilhubert_original_s3prl"),
    ),
    _Format(
        "a checkpoint of an s3prl downstream model",
        frozenset({"Optimizer", "Args"}),
        "It holds no upstream: name the upstream that it was trained on",
        frozenset({"Downstream", "Featurizer"}),
    ),
    _Format(
        "a checkpoint of Microsoft's WavLM whose settings cannot be read",
        frozenset({"cfg", "model", "relative_position_embedding"}),
        _KEEP_WEIGHTS.format(key="model"),
    ),
    _Format(
        "a checkpoint of fairseq whose settings cannot be read",
        frozenset({"model"}),
        _KEEP_WEIGHTS.format(key="model"),
        frozenset({"cfg", "args", "extra_state", "optimizer_history"}),
    ),
    _Format(
        "a checkpoint of Lightning without the model's shape",
        frozenset({"state_dict"}),
        "Save it as DPHuBERT does: {'state_dict': weights, 'config': keyword arguments of wav2vec2_model}. Of a run of "
        "this suite, name the folder in models/",
        frozenset({"pytorch-lightning_version", "loops", "lr_schedulers"}),
    ),
    _Format(
        "a TorchScript program",
        frozenset({"constants.pkl"}),
        "Save the weights of the model that it was made from, in Hugging Face's format (save_pretrained)",
    ),
)

_MAGIC = (
    (b"GGUF", "a GGUF file"),
    (b"\x89HDF", "a TensorFlow (HDF5) file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"BZh", "a bzip2 archive"),
)
_SUFFIXES = {
    ".onnx": "an ONNX file",
    ".gguf": "a GGUF file",
    ".h5": "a TensorFlow (HDF5) file",
    ".pb": "a TensorFlow file",
    ".tflite": "a TensorFlow Lite file",
    ".index": "a TensorFlow checkpoint",
    ".msgpack": "a Flax file",
    ".nemo": "a NeMo archive",
    ".mlmodel": "a Core ML file",
}
_PYTORCH = (
    "Only PyTorch's weights can be read: name the Hugging Face id or folder of the model that it was made from, or a "
    "folder written by save_pretrained"
)
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_OTHER_WEIGHTS = ("tf_model.h5", "flax_model.msgpack", "saved_model.pb", "model.onnx", "model.ckpt.index")


def recognised_file(path: Path) -> str | None:
    """Describe a file that is no checkpoint of PyTorch, by its first bytes and suffix.

    Returns:
        A clause that begins with "is", and a way to use the model. None if the file may be a checkpoint.
    """
    with path.open("rb") as file:
        start = file.read(9)
    if zipfile.is_zipfile(path):
        names = _archive_names(path)
        if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
            return None
    kind = next((kind for magic, kind in _MAGIC if start.startswith(magic)), _SUFFIXES.get(path.suffix.lower()))
    return None if kind is None else f"is {kind}. {_PYTORCH}."


def recognised_checkpoint(path: Path, content: Mapping[str, object] | None = None) -> str | None:
    """Describe a PyTorch checkpoint that cannot be read. No code in it is executed.

    Args:
        path: path of the file.
        content: content of the file. None if it cannot be loaded; its pickle is then searched for names.

    Returns:
        As in `recognised_file`. None for an unknown format.
    """
    names = _names_in(content) if content is not None else _names_in_pickle(path)
    found = next((one for one in _CHECKPOINTS if one.fits(names)), None)
    return None if found is None else found.advice()


def recognised_folder(folder: Path) -> str:
    """Explain how to use the model of a folder without a ``config.json``."""
    for pattern in ("*/config.json", "snapshots/*/config.json"):
        inner = next(folder.glob(pattern), None)
        if inner is not None:
            return f"Did you mean {inner.parent}?"
    weights = next((name for name in WEIGHTS if (folder / name).exists()), None)
    if weights is not None:
        return (
            f"Found weights ({weights}) without it. Copy config.json and preprocessor_config.json of the same model "
            f"into the folder; the hub has them next to the weights. Or name {weights}, if it is of a published size."
        )
    return recognised_weights(folder) or "Name the folder that holds the model."


def recognised_weights(folder: Path) -> str | None:
    """Describe what a folder without PyTorch weights holds instead. None if it is not recognised."""
    others = [name for name in _OTHER_WEIGHTS if (folder / name).exists()]
    others += sorted(path.name for path in folder.glob("*") if path.suffix in (".gguf", ".onnx"))[:1]
    return f"Found {others[0][:60]}. {_PYTORCH}." if others else None


def is_safetensors(path: Path) -> bool:
    """Return whether a file is in the safetensors format, by its name or first bytes."""
    if path.suffix == ".safetensors" or not path.is_file():
        return path.suffix == ".safetensors"
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000


def _archive_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except BROKEN_ARCHIVE:
        return []


def _names_in(content: Mapping[str, object]) -> set[str]:
    names = {key for key in content if isinstance(key, str)}
    for key in ("cfg", "model_cfg"):
        inner = content.get(key)
        if isinstance(inner, Mapping):
            names |= {name for name in inner if isinstance(name, str)}
    return names


def _names_in_pickle(path: Path) -> set[str]:
    """List the strings in a checkpoint's pickle, without executing it."""
    names = {name.rpartition("/")[2] for name in _archive_names(path)}
    return names | {value for value in _strings(_pickle_of(path)) if len(value) < 100}


def _pickle_of(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            inside = next((name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"), None)
            if inside is None:
                return b""
            with archive.open(inside) as file:
                return file.read(_PICKLE_BYTES)
    except BROKEN_ARCHIVE:
        with path.open("rb") as file:
            return file.read(_PICKLE_BYTES)


def _strings(pickled: bytes) -> list[str]:
    found: list[str] = []
    stream = io.BytesIO(pickled)
    try:
        # torch's old format stores several pickles one after the other.
        while stream.tell() < len(pickled):
            found += [value for _, value, _ in pickletools.genops(stream) if isinstance(value, str)]
    except (ValueError, OverflowError) as error:
        logger.debug("a pickle ends early: %s", error)
    return found
