"""Which row of a run makes the leading part of a stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.config.later_settings import with_later_settings
from bench.config.run import ModelSource
from bench.stacking import SEPARATOR, by_part, joined


def rows_of_leading_parts(stack: ModelSource, rows: Mapping[str, ModelSource], preset: str) -> Iterator[str]:
    """List the rows whose models a stack can begin with, longest part first.

    Args:
        stack: where the stack's row comes from.
        rows: all rows of the run that compression makes.
        preset: of the run; it provides settings that a stored row does not have yet.
    """
    for leading in _leading_parts(stack):
        for row, source in rows.items():
            if source.compressor == leading.compressor and leading.settings == with_later_settings(
                "bench.compressors", source.compressor or "", source.settings, preset
            ):
                yield row


def _leading_parts(stack: ModelSource) -> Iterator[ModelSource]:
    """List the shorter stacks that a stack begins with, the longest first; none for a compressor that is no stack."""
    settings = list(by_part(stack.compressor or "", stack.settings).items())
    for num_parts in range(len(settings) - 1, 0, -1):
        leading = dict(settings[:num_parts])
        yield ModelSource(compressor=SEPARATOR.join(leading), settings=joined(leading))
