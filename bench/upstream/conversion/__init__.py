"""Converts other projects' models to ours: one converter (`weights`), and one module per source."""

from bench.upstream.conversion.dphubert import PROJECTIONS, read_distillation_projections, read_dphubert
from bench.upstream.conversion.huggingface import download_from_hub, read_huggingface
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
    "read_dphubert",
    "read_huggingface",
]
