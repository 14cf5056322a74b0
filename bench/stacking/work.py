"""Runs the parts of a stack one after the other, in one folder that keeps the models of finished parts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts import AudioSource, Compressor, Context
from bench.errors import UserError
from bench.files.sealed import digests, read_sealed_json, set_aside, write_sealed_json
from bench.stacking.names import SEPARATOR, what_differs

if TYPE_CHECKING:
    from bench.upstream import UpstreamModel


@dataclass(frozen=True)
class Work:
    """One call of a stack. The models of each part are kept for the next one."""

    parts: Mapping[str, Compressor]
    teacher: UpstreamModel
    audio: AudioSource
    workdir: Path
    context: Context

    def kept(self, num_parts: int, before: Mapping[str, Path]) -> dict[str, Path]:
        """Return the folders of the models of the first parts. Missing models are made.

        Args:
            num_parts: number of parts, at least 1.
            before: the models of one part fewer. Empty for one part, which compresses the teacher.
        """
        from bench.upstream.checkpoint import save_upstream

        chain = self._chain(num_parts)
        folder = self.workdir / "parts" / chain
        digests_path = folder.with_name(f"{chain}.sha256.json")
        if folder.exists() and read_sealed_json(digests_path) != digests(folder):
            set_aside(folder)
            # Later parts train on the models that are made again, which may differ on a GPU.
            shutil.rmtree(self.workdir / "checkpoints", ignore_errors=True)
        if not folder.exists():
            # All models of a part appear at once.
            unfinished = folder.with_name(f".{chain}")
            shutil.rmtree(unfinished, ignore_errors=True)
            for differs, model in self.models(num_parts, before):
                beside = self._beside(num_parts, differs)
                files = sorted(beside.iterdir()) if beside.is_dir() else []
                save_upstream(model.cpu(), unfinished / (chain + differs), provenance={}, beside=files)
            write_sealed_json(digests_path, digests(unfinished))
            unfinished.replace(folder)
            shutil.rmtree(self.workdir / "checkpoints", ignore_errors=True)
        return {what_differs(chain, model.name): model for model in sorted(folder.iterdir())}

    def models(self, num_parts: int, before: Mapping[str, Path]) -> Iterator[tuple[str, UpstreamModel]]:
        """Make the models of the first parts from those of one part fewer. Yields each name's addition and model."""
        from bench.upstream.checkpoint import load_folder

        name = list(self.parts)[num_parts - 1]
        part = self.parts[name]
        for differs, folder in before.items() if num_parts > 1 else [("", None)]:
            workdir = self.workdir / "checkpoints" / (self._chain(num_parts) + differs)
            workdir.mkdir(parents=True, exist_ok=True)
            # Read from the disk even if it was just made, so that a resumed call has the same teacher.
            teacher = load_folder(folder) if folder else self.teacher
            # Only the first part has a warm start.
            context = replace(self.context, start=None) if folder else self.context
            with naming_part(name):
                if folder:
                    part.check(teacher, self.audio, context)
                for made, model in part.compress(teacher, self.audio, workdir, context).items():
                    also_differs = what_differs(name, made)
                    self._leave_beside(num_parts, differs + also_differs, workdir / "beside" / made, folder)
                    yield differs + also_differs, model

    def _leave_beside(self, num_parts: int, differs: str, own: Path, before: Path | None) -> None:
        """Store a part's files of a model with those of earlier parts, which are renamed if names clash."""
        from bench.upstream.checkpoint import OWN_FILES

        target = self._beside(num_parts, differs)
        shutil.rmtree(target, ignore_errors=True)
        if own.is_dir():
            shutil.copytree(own, target)
        for file in sorted(before.iterdir()) if before else []:
            if file.name not in OWN_FILES:
                target.mkdir(parents=True, exist_ok=True)
                name = f"{list(self.parts)[num_parts - 2]}-{file.name}" if (target / file.name).exists() else file.name
                shutil.copy2(file, target / name)

    def _beside(self, num_parts: int, differs: str) -> Path:
        return self.workdir / "beside" / (self._chain(num_parts) + differs)

    def _chain(self, num_parts: int) -> str:
        return SEPARATOR.join(list(self.parts)[:num_parts])


@contextmanager
def naming_part(part: str) -> Iterator[None]:
    """Add the name of the part to an error."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{part}: {error}") from error
