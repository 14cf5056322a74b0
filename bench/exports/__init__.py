"""Exports an upstream to the tools that its users work with. One module per target; see `targets`."""

from bench.exports.export import export_model
from bench.exports.options import ExportOptions
from bench.exports.subject import Subject

__all__ = ["ExportOptions", "Subject", "export_model"]
