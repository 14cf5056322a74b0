"""Exports an upstream to the tools that its users work with. One module per target; see `targets`."""

from bench.export.export import export_model
from bench.export.options import ExportOptions
from bench.export.subject import Subject

__all__ = ["ExportOptions", "Subject", "export_model"]
