"""The speech SSL model: shape, network, gates, pruning, files, conversion, and its cost."""

from bench.upstream.config import UpstreamConfig
from bench.upstream.model import UpstreamModel

__all__ = ["UpstreamConfig", "UpstreamModel"]
