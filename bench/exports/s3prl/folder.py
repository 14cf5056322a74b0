"""Folders that s3prl takes as an upstream: a Hugging Face folder, and the code between s3prl and transformers."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.exports.card import write_card
from bench.exports.huggingface.folder import write_with_code
from bench.exports.options import ExportOptions
from bench.exports.subject import Subject
from bench.upstream.readme import Usage

CODE = Path(__file__).parent / "upstream"
FILES = ("expert.py", "hubconf.py", "registration.py", "run_downstream.py")

USAGE = Usage(
    "s3prl",
    "python {model}/run_downstream.py -m train -u superb_bench -k {model} -d asr -n my-experiment",
    language="bash",
)


def write(subject: Subject, destination: Path, options: ExportOptions) -> None:  # noqa: ARG001 - the signature of a target
    """Write the model and the upstream's code."""
    write_with_code(subject.model, destination)
    write_card(subject, destination, USAGE)
    for name in FILES:
        shutil.copyfile(CODE / name, destination / name)
