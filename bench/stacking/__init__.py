"""Stacks of compressors, ``dphubert+int8``: each part compresses the models of the part before it.

A stack is an ordinary `bench.contracts.Compressor`, made of plug-ins that need no support for stacks.
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
