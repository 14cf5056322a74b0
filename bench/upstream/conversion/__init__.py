"""Converts other projects' models: one key table (`keys`), one strict check (`weights`), one module per source."""

from bench.upstream.conversion.dphubert import PROJECTIONS, read_distillation_projections
from bench.upstream.conversion.huggingface import download_from_hub, read_huggingface
from bench.upstream.conversion.model_files import read_file
from bench.upstream.conversion.torchaudio import bundle_names, from_torchaudio, read_bundle
from bench.upstream.conversion.weights import Checkpoint

__all__ = [
    "PROJECTIONS",
    "Checkpoint",
    "bundle_names",
    "download_from_hub",
    "from_torchaudio",
    "read_bundle",
    "read_distillation_projections",
    "read_file",
    "read_huggingface",
]
