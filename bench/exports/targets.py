"""The targets of ``bench export``, and what each of them needs. Importing this module imports none of them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.registry import nearest
from bench.text import shortened

if TYPE_CHECKING:
    from bench.exports.options import ExportOptions
    from bench.exports.subject import Subject

    Write = Callable[[Subject, Path, ExportOptions], None]
    """Write a model to a temporary path, an empty folder or file. Whatever it raises, nothing is left there."""


@dataclass(frozen=True)
class Target:
    """One format that models are exported to."""

    name: str
    summary: str
    writer: str
    """``module:function`` of its `Write`."""
    is_folder: bool
    """Whether it is a folder of files or a single file."""
    extra: str = ""
    """The extra of superb-bench that installs ``packages``."""
    packages: tuple[str, ...] = ()
    """Packages that writing it imports, by import name."""
    takes_int8: bool = False
    """Whether models with int8 layers can be exported."""
    suffix: str = ""
    """End of the file's name, by which commands recognise the file."""
    is_graph: bool = False
    """Whether ``--int8`` and ``--opset`` apply to it."""

    def require_packages(self) -> None:
        """Refuse a target whose packages are not installed.

        Raises:
            UserError: names the packages and the extra that installs them.
        """
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(
                f"--to {self.name} needs {', '.join(missing)}, which is not installed. Install it with "
                f"pip install 'superb-bench[{self.extra}]'."
            )

    def load(self) -> Write:
        """Import the function that writes this target."""
        module, _, function = self.writer.partition(":")
        write: Write = getattr(importlib.import_module(module), function)
        return write


TARGETS = {
    target.name: target
    for target in (
        Target(
            "hf",
            "a folder for transformers' from_pretrained",
            "bench.exports.huggingface.folder:write",
            is_folder=True,
        ),
        Target(
            "onnx",
            "an ONNX file with dynamic batch and time",
            "bench.exports.onnx:write",
            is_folder=False,
            suffix=".onnx",
            extra="onnx",
            packages=("onnx", "onnxscript", "onnxruntime"),
            takes_int8=True,
            is_graph=True,
        ),
        Target("dphubert", "a .pth file for DPHuBERT's code", "bench.exports.dphubert:write", is_folder=False),
        Target("s3prl", "a folder with an upstream for s3prl", "bench.exports.s3prl.folder:write", is_folder=True),
    )
}


def find_target(name: str) -> Target:
    """Return a target by its name, in any case.

    Raises:
        UserError: there is no such target.
    """
    target = TARGETS.get(name.lower())
    if target is None:
        raise UserError(f"Unknown target {shortened(repr(name))} in --to. {nearest(name, TARGETS)}")
    return target
