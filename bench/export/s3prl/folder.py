"""Folders that s3prl takes as an upstream: a Hugging Face folder, and the code between s3prl and transformers."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.export.huggingface.folder import write_with_code
from bench.export.options import ExportOptions
from bench.export.subject import Subject

CODE = Path(__file__).parent / "upstream"
FILES = ("expert.py", "hubconf.py", "registration.py", "run_downstream.py")


def write(subject: Subject, destination: Path, options: ExportOptions) -> None:  # noqa: ARG001 - the signature of a target
    """Write the model and the upstream's code."""
    write_with_code(subject.model, destination)
    for name in FILES:
        shutil.copyfile(CODE / name, destination / name)
