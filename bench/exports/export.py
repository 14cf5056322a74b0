"""Exports one model: all checks first, then an atomic write."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from safetensors import SafetensorError

from bench.errors import UserError
from bench.exports.options import DEFAULT_OPSET, OPSETS, ExportOptions
from bench.exports.push import check_push, push
from bench.exports.subject import load_subject
from bench.exports.targets import Target, find_target
from bench.files.atomic import creating_folder, replacing
from bench.files.paths import expanded
from bench.text import shortened

logger = logging.getLogger(__name__)


def export_model(reference: str, to: str, out: Path, options: ExportOptions | None = None) -> Path:
    """Write a model in another project's format, completely or not at all.

    Args:
        reference: any model reference.
        to: name of a target.
        out: the file or folder to write. A folder may exist if it is empty.
        options: settings of some targets.

    Raises:
        UserError: an unknown target, a package that is not installed, a destination that exists or cannot be written,
            no such model, a model or setting that the target cannot express, or an upload that failed.
    """
    options = options or ExportOptions()
    target = find_target(to)
    _check_options(options, target)
    target.require_packages()
    if options.push is not None:
        check_push(options.push)
    destination = expanded(out)
    _require_free(destination, target)
    _require_suffix(destination, target)
    write = target.load()
    subject = load_subject(reference, options.push or destination.name)
    if subject.model.config.has_int8 and not target.takes_int8:
        raise UserError(
            f"--to {target.name} has no int8 layers, and {shortened(reference, 120)} has some. Export the model that "
            "it was quantised from."
        )
    with _writing(destination, target) as temporary:
        write(subject, temporary, options)
    if options.push is not None:
        logger.info("uploaded to %s", push(destination, options.push))
    return destination


def _check_options(options: ExportOptions, target: Target) -> None:
    for option, is_given in {"--int8": options.int8, "--opset": options.opset is not None}.items():
        if is_given and not target.is_graph:
            raise UserError(f"{option} has no meaning for --to {target.name}. Leave it out, or export --to onnx.")
    if options.opset is not None and options.opset not in OPSETS:
        raise UserError(
            f"Expected --opset from {OPSETS.start} to {OPSETS.stop - 1}, which torch writes and ONNX Runtime runs. "
            f"Found {shortened(options.opset, 40)}. Leave it out for {DEFAULT_OPSET}."
        )


def _require_suffix(destination: Path, target: Target) -> None:
    if target.suffix and destination.suffix.lower() != target.suffix:
        raise UserError(
            f"Expected a file name that ends in {target.suffix} in --out. Found "
            f"{shortened(repr(destination.name), 80)}. Other commands recognise the file by it."
        )


def _require_free(destination: Path, target: Target) -> None:
    if not os.path.lexists(destination):
        return
    if target.is_folder and destination.is_dir() and not any(destination.iterdir()):
        return
    expected = "a new or empty folder" if target.is_folder else "a new file"
    raise UserError(
        f"Expected {expected} in --out. Found something at {shortened(str(destination), 160)}. Choose another path, or "
        "delete it."
    )


@contextmanager
def _writing(destination: Path, target: Target) -> Iterator[Path]:
    place: AbstractContextManager[Path] = (creating_folder if target.is_folder else replacing)(destination)
    try:
        with place as temporary:
            yield temporary
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"Expected to write the exported model to {shortened(str(destination), 160)}. Failed: "
            f"{shortened(str(reason))}. Is the disk full?"
        ) from error
