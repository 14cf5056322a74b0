"""superb-bench: compress self-supervised speech models and measure what it costs on SUPERB."""

from importlib.metadata import version

__version__ = version("superb-bench")
