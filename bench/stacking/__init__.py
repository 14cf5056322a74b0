"""Stacks of compressors, ``dphubert+int8``: each part compresses what the part before it has made.

A stack is a `bench.contracts.Compressor` like any other, made out of plug-ins that know nothing of it.
"""

from bench.stacking.names import SEPARATOR, by_part, joined, part_names, what_differs
from bench.stacking.stack import PartsMade, Stack, compressor_parts, compressor_type

__all__ = [
    "SEPARATOR",
    "PartsMade",
    "Stack",
    "by_part",
    "compressor_parts",
    "compressor_type",
    "joined",
    "part_names",
    "what_differs",
]
