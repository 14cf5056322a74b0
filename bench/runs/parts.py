"""What a stack need not make: the models of its leading parts, where a row of the same run has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bench.config.run import ModelSource, RunConfig
from bench.contracts import WarmStart
from bench.errors import UserError
from bench.runs.compress import differences, identity
from bench.runs.plan import Compression, made_of, rows_there
from bench.stacking import SEPARATOR, PartsMade, by_part, joined
from bench.store.run_folder import RunFolder
from bench.upstream import UpstreamModel


def leading_parts(source: ModelSource) -> Iterator[ModelSource]:
    """List the shorter stacks that a stack begins with, the longest first; of a compressor alone there is none."""
    settings = list(by_part(source.compressor or "", source.settings).items())
    for num_parts in range(len(settings) - 1, 0, -1):
        leading = dict(settings[:num_parts])
        yield ModelSource(compressor=SEPARATOR.join(leading), settings=joined(leading))


def parts_made(
    folder: RunFolder, config: RunConfig, compression: Compression, teacher: UpstreamModel, start: WarmStart | None
) -> PartsMade:
    """Find the models of as many leading parts as there are in finished rows of a run, this call's or an earlier one's.

    Args:
        folder: of the run.
        config: of the run.
        compression: of which the parts are.
        teacher: of the run.
        start: what its compressions go on from.
    """
    rows = {**rows_there(folder), **config.compressors()}
    stack = identity(config, compression, teacher, start)
    for leading in leading_parts(config.models[compression.row]):
        wanted = {"compressor": leading.compressor, "recipe": leading.settings}
        for row in (row for row, source in rows.items() if source.compressor == leading.compressor):
            made = made_of(folder, config, replace(compression, row=row))
            folders = {subject.model.removeprefix(row): folder.model_folder(subject.weights) for subject in made}
            if folders and not any(differences(path, {**stack, **wanted}) for path in folders.values()):
                return PartsMade(len(by_part(leading.compressor or "", leading.settings)), folders)
    return PartsMade()


def refuse_after_failures(config: RunConfig, compression: Compression, failed: Mapping[str, str]) -> None:
    """Refuse to make again what a row has just failed to make.

    Args:
        config: of the run.
        compression: what is to be made.
        failed: work of the run to why it failed.

    Raises:
        UserError: a row of its leading parts is among them.
    """
    for leading in leading_parts(config.models[compression.row]):
        for row, source in config.compressors().items():
            if source == leading and f"compress {replace(compression, row=row).name}" in failed:
                raise UserError(f"It begins with {row}, which failed.")
