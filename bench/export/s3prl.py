"""Files for s3prl."""

from __future__ import annotations

from pathlib import Path

from bench.errors import UserError
from bench.export.options import ExportOptions
from bench.export.subject import Subject


def write(subject: Subject, destination: Path, options: ExportOptions) -> None:  # noqa: ARG001 - the signature of a target
    """Write the file.

    Raises:
        UserError: always.
    """
    raise UserError("--to s3prl is not available in this version. Choose another target.")
