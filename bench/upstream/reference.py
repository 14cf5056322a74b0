"""Model references: the one way in which commands name a model."""

from __future__ import annotations

import copy
import difflib
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench import registry
from bench.errors import UserError
from bench.files.paths import expanded
from bench.text import shortened
from bench.upstream.checkpoint import MANIFEST, is_suite_folder, read_folder
from bench.upstream.config import UpstreamConfig
from bench.upstream.conversion import bundle_names, download_from_hub, read_bundle, read_file, read_huggingface
from bench.upstream.conversion.unreadable import recognised_folder
from bench.upstream.fbank import FbankUpstream
from bench.upstream.model import UpstreamModel
from bench.upstream.onnx_file import is_onnx, refused
from bench.upstream.plugins import GROUP, PREFIX, PluginUpstream, load_plugin, module_of
from bench.upstream.random_shapes import SHAPES, random_model
from bench.upstream.reference_names import (
    CHECKPOINT_SUFFIXES,
    FBANK,
    HUB,
    HUB_ID,
    MINI_HUBERT,
    RANDOM,
    is_revision,
    looks_like_hub_id,
    meanings,
    spelled_name,
    split_revision,
)

MINI_HUBERT_FOLDER = Path(__file__).parent / "mini_hubert"

AnyUpstream = UpstreamModel | FbankUpstream | PluginUpstream
"""What `load_upstream` returns."""

_FORMS = (
    "mini-hubert, a folder of bench or of Hugging Face, a checkpoint (.pth, .pt, .ckpt), a torchaudio bundle "
    "(HUBERT_BASE), fbank, random:<shape>, or a model of Hugging Face's hub (facebook/hubert-base-ls960)"
)
_FOLDERS_COMPARED = 1000
_SIMILAR = 0.8
_RANDOM_NAMES = [RANDOM + name for name in SHAPES]


def load_upstream(reference: str | Path) -> AnyUpstream:
    """Load any model reference, in evaluation mode.

    Args:
        reference: ``hub:`` and a Hugging Face hub id; or one of these, tried in this order: a suite folder; a Hugging
            Face folder; a checkpoint of DPHuBERT (pruned by its gates if it has any), fairseq, s3prl, Microsoft's
            WavLM, or a file of weights alone; the name of a torchaudio bundle; ``fbank``; ``random:<shape>``;
            ``mini-hubert``, the embedded teacher; the name of a plug-in (entry-point group ``bench.upstreams``); a hub
            id. A hub id may end in ``@`` and a revision.

    Raises:
        UserError: there is no such model (the error suggests the nearest name), or its files are truncated, unsafe, of
            another architecture, or have NaN or infinite weights.
    """
    return _find(str(reference)).build()


def check_reference(reference: str | Path) -> None:
    """Refuse a reference that `load_upstream` would refuse, before any long work and as cheaply as possible.

    Files are opened, and the names and shapes of their weights compared, without building the model. Hub models are
    downloaded.

    Raises:
        UserError: see `load_upstream`.
    """
    _find(str(reference)).check()


def reference_config(reference: str | Path) -> UpstreamConfig | None:
    """Return the shape of a model without building it. None for ``fbank`` and plug-ins.

    ``random:`` makes no weights. Weights are read only if the shape depends on them. Hub models are downloaded.

    Raises:
        UserError: there is no such model, or its files are truncated, unsafe or of another architecture.
    """
    return _find(str(reference)).shape()


def model_name(reference: str | Path) -> str:
    """Name a model in tables and files: the last part of its path or hub id, with only letters, digits and ``._-``."""
    name = spelled_reference(str(reference))
    path = expanded(name)
    if path.exists():
        resolved = path.resolve()
        name = resolved.name if resolved.is_dir() else resolved.stem
    elif name.startswith(PREFIX):
        name = name.removeprefix(PREFIX)
    elif not name.startswith(RANDOM):
        repository, revision = split_revision(name)
        last = repository.rstrip("/").rsplit("/", maxsplit=1)[-1]
        name = last if revision is None else f"{last}-{revision}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def spelled_reference(reference: str) -> str:
    """Return a reference with the model name in its official case: ``Hubert_Base`` becomes ``HUBERT_BASE``.

    A reference to an existing file or folder is not changed.
    """
    name = spelled_name(reference)
    return reference if name == reference or Path(reference).exists() else name


def known_references() -> list[tuple[str, str]]:
    """List the references with fixed names, each with a description."""
    return [
        (MINI_HUBERT, "the embedded teacher: a small HuBERT trained on synthetic speech, with its phones"),
        (FBANK, "log mel filter banks with deltas, the baseline"),
        *((RANDOM + name, f"{_described(config)}, random weights") for name, config in SHAPES.items()),
        *((name, "a plug-in") for name in registry.names(GROUP)),
        *((name, "torchaudio's pretrained bundle") for name in bundle_names()),
    ]


class _Found(Protocol):
    """What a reference points to, before the model is built."""

    def check(self) -> None: ...

    def shape(self) -> UpstreamConfig | None: ...

    def build(self) -> AnyUpstream: ...


@dataclass(frozen=True)
class _Made:
    """A model that needs no file."""

    build: Callable[[], AnyUpstream]
    config: UpstreamConfig | None = None

    def check(self) -> None:
        """Do nothing: there is no file to check."""

    def shape(self) -> UpstreamConfig | None:
        return self.config


def _find(reference: str) -> _Found:
    if reference.startswith(HUB):
        return _find_on_hub(reference.removeprefix(HUB))
    if is_onnx(reference):
        raise refused(reference)
    if reference.startswith(PREFIX):
        return _in_memory(reference)
    reference = spelled_reference(reference)
    path = _path(reference)
    if reference == MINI_HUBERT and not path.exists():
        path = MINI_HUBERT_FOLDER
    if path.is_dir():
        return _find_folder(path)
    return read_file(path) if path.exists() else _find_by_name(reference)


def _find_by_name(reference: str) -> _Found:
    if reference in bundle_names():
        return read_bundle(reference)
    if reference == FBANK:
        return _Made(lambda: FbankUpstream().eval())
    if reference.startswith(RANDOM):
        config = _random_shape(reference)
        return _Made(lambda: random_model(config), config)
    if reference in registry.names(GROUP):
        return _Made(lambda: load_plugin(reference))
    if looks_like_hub_id(reference):
        similar = _folder_meant(reference)
        if similar is not None:
            raise UserError(
                f"Expected a model at {reference}. Found nothing there, and Hugging Face's hub was not asked, as the "
                f"folder {similar} is here. Correct the path, or write {HUB}{reference} for the hub's model."
            )
        return _find_on_hub(reference)
    raise UserError(_unknown(reference))


def _in_memory(reference: str) -> _Found:
    """Find a module of the running program, see `bench.upstream.plugins.refer_to`. Runs work on copies of it."""
    module = module_of(reference)
    if isinstance(module, UpstreamModel):
        return _Made(lambda: copy.deepcopy(module).eval(), module.config)
    if isinstance(module, FbankUpstream | PluginUpstream):
        return _Made(lambda: copy.deepcopy(module).eval())
    return _Made(lambda: PluginUpstream(copy.deepcopy(module), reference.removeprefix(PREFIX)))


def _path(reference: str) -> Path:
    """Read a reference as a path, which need not exist.

    Raises:
        UserError: it cannot be a path, because it is too long or has characters that no path can have.
    """
    try:
        path = expanded(reference)
        path.stat()
    except FileNotFoundError:
        return path
    except NotADirectoryError:
        return path
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"Expected a model reference. Found {shortened(repr(reference))} ({reason}).") from error
    return path


def _find_on_hub(reference: str) -> _Found:
    repository, revision = split_revision(reference)
    if not HUB_ID.fullmatch(repository):
        raise UserError(
            f"Expected owner/name of a model of Hugging Face's hub. Found {shortened(repr(repository))}. See "
            "https://huggingface.co/models."
        )
    if revision is not None and not is_revision(revision):
        raise UserError(
            f"Expected a branch, a tag or a commit after {repository}@. Found {shortened(repr(revision))}. See the "
            "model's page on Hugging Face's hub."
        )
    return read_huggingface(download_from_hub(repository, revision))


def _folder_meant(reference: str) -> str | None:
    """Name the local folder that a reference in the form of a hub id may have meant. None if there is none."""
    owner = reference.split("/", maxsplit=1)[0]
    if Path(owner).exists():
        return owner
    folders = [path.name for path in itertools.islice(Path().iterdir(), _FOLDERS_COMPARED) if path.is_dir()]
    return next(iter(difflib.get_close_matches(owner, folders, n=1, cutoff=_SIMILAR)), None)


def _find_folder(folder: Path) -> _Found:
    if not (folder / MANIFEST).exists():
        raise UserError(f"Expected a model's {MANIFEST} in {folder}. Found none. {recognised_folder(folder)}")
    return read_folder(folder) if is_suite_folder(folder) else read_huggingface(folder)


def _random_shape(reference: str) -> UpstreamConfig:
    name = reference.removeprefix(RANDOM)
    if name not in SHAPES:
        near = _nearest(reference, _RANDOM_NAMES)
        raise UserError(f"Unknown shape {shortened(repr(reference))}. {near}Known: {', '.join(SHAPES)}.")
    return SHAPES[name]


def _unknown(reference: str) -> str:
    if "/" in reference or reference.endswith(CHECKPOINT_SUFFIXES):
        where = shortened(reference, 120)
        return f"Expected a model at {where}. Found nothing there. Correct the path, or name {_FORMS}."
    if could_mean := meanings(reference):
        named = ", ".join(could_mean[:-1])
        return (
            f"Unknown model {reference!r}. Did you mean {named} (trained weights), or {could_mean[-1]} (random ones)?"
        )
    names = [*(name for name, _ in known_references()), *SHAPES]
    return f"Unknown model {shortened(repr(reference))}. {_nearest(reference, names)}Expected {_FORMS}."


def _nearest(name: str, choices: list[str]) -> str:
    near = difflib.get_close_matches(name, choices, n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


def _described(config: UpstreamConfig) -> str:
    family = {"hubert": "HuBERT", "wav2vec2": "wav2vec 2.0", "wavlm": "WavLM"}[config.architecture]
    return f"{family}: {config.num_layers} layers of {config.dim}"
