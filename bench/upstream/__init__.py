"""The speech SSL model: its shape, network, gates, pruning, files, conversion and cost."""

from bench.upstream.checkpoint import load_folder, save_upstream, weights_hash
from bench.upstream.config import UpstreamConfig
from bench.upstream.fbank import FbankUpstream
from bench.upstream.model import UpstreamModel
from bench.upstream.plugins import PluginUpstream
from bench.upstream.reference import (
    AnyUpstream,
    check_reference,
    known_references,
    load_upstream,
    model_name,
    reference_config,
)

__all__ = [
    "AnyUpstream",
    "FbankUpstream",
    "PluginUpstream",
    "UpstreamConfig",
    "UpstreamModel",
    "check_reference",
    "known_references",
    "load_folder",
    "load_upstream",
    "model_name",
    "reference_config",
    "save_upstream",
    "weights_hash",
]
