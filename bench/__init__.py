"""superb-bench: compress self-supervised speech models and measure what it costs on SUPERB.

The functions below are the suite in Python; docs/python.md shows them at work. They are imported on first use, because
torch takes seconds.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api.exporting import export
    from bench.api.models import load_upstream
    from bench.api.results import Results, compare, report
    from bench.api.runs import compress, evaluate, run
    from bench.errors import UserError

__version__ = version("superb-bench")

_MODULES = {
    "UserError": "bench.errors",
    "load_upstream": "bench.api.models",
    "compress": "bench.api.runs",
    "evaluate": "bench.api.runs",
    "run": "bench.api.runs",
    "export": "bench.api.exporting",
    "Results": "bench.api.results",
    "compare": "bench.api.results",
    "report": "bench.api.results",
}

__all__ = [
    "Results",
    "UserError",
    "__version__",
    "compare",
    "compress",
    "evaluate",
    "export",
    "load_upstream",
    "report",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a function of the Python interface."""
    if name not in _MODULES:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
