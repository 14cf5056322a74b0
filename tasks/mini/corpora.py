"""The embedded corpora on disk: made once, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import platformdirs

from bench.contracts import Data
from bench.errors import UserError
from tasks.mini.keywords import Keywords
from tasks.mini.manifest import IDENTITY, read_manifest
from tasks.mini.randomness import GENERATOR_VERSION
from tasks.mini.synthesis import check_synthesizer
from tasks.mini.transcripts import Transcripts
from tasks.mini.utterances import MiniCorpus

TRANSCRIPTS = Transcripts()
CORPORA: tuple[MiniCorpus, ...] = (Keywords(), TRANSCRIPTS)
ELSEWHERE = "Mend that, or choose another folder (for the cache: SUPERB_BENCH_CACHE)."
FREE_BYTES_NEEDED = 200 * 2**20


def cache_root() -> Path:
    """Where the suite caches: ``$SUPERB_BENCH_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("SUPERB_BENCH_CACHE")
    return Path(chosen).absolute() if chosen else platformdirs.user_cache_path("superb-bench")


def version_of(seed: int, scale: float = 1.0) -> str:
    """Name the content of the corpora."""
    return f"{GENERATOR_VERSION}-seed{seed}" + ("" if scale == 1.0 else f"-scale{scale:g}")


class MiniCorpora:
    """Synthetic mini corpora (``--data mini``): a proving ground, not evidence about SUPERB."""

    version: ClassVar[str] = version_of(seed=0)

    def __init__(
        self,
        folder: Path | None = None,
        *,
        seed: int = 0,
        scale: float = 1.0,
        num_processes: int | None = None,
    ):
        """Say which corpora are meant; nothing is made yet.

        Args:
            folder: where they lie; by default ``mini/<version>`` in the cache.
            seed: another seed gives other speakers, sentences and noise.
            scale: multiplies the number of speakers; below 1 for tests.
            num_processes: synthesiser processes, by default one a core; the audio does not depend on it.
        """
        self.identity = version_of(seed, scale)
        self.folder = folder.absolute() if folder else cache_root() / "mini" / self.identity
        self._seed, self._scale = seed, scale
        self._num_processes = num_processes or os.cpu_count() or 1

    def data(self) -> Data:
        """Say where the corpora are or will be; makes nothing."""
        return Data(
            name="mini",
            version=self.identity,
            audio=TRANSCRIPTS.training_audio(self.folder / TRANSCRIPTS.name),
            tasks={corpus.name: corpus.task_data(self.folder / corpus.name) for corpus in CORPORA},
        )

    def prepare(self) -> Data:
        """Make what is missing, with a progress bar on standard error, and say where it is.

        Raises:
            UserError: no synthesiser, no room or permission to write, or a damaged or foreign folder in the way.
        """
        missing = [corpus for corpus in CORPORA if not self._is_complete(corpus)]
        if missing:
            check_synthesizer()
            try:
                self._make(missing)
            except OSError as error:
                raise UserError(
                    f"The embedded corpora cannot be written below {self.folder}: {error.strerror or error}. "
                    f"{ELSEWHERE}"
                ) from error
        return self.data()

    def manifests(self) -> dict[str, list[dict[str, str]]]:
        """Read the manifest of every corpus; they must be there."""
        return {corpus.name: read_manifest(self.folder / corpus.name) for corpus in CORPORA}

    def _is_complete(self, corpus: MiniCorpus) -> bool:
        """Tell a complete corpus from none at all.

        Raises:
            UserError: something else is in its place.
        """
        folder = self.folder / corpus.name
        if not folder.exists():
            return False
        remedy = "Delete that folder and run the command again."
        try:
            version = json.loads((folder / IDENTITY).read_text(encoding="utf-8"))["version"]
            lost = [row["path"] for row in read_manifest(folder) if not (folder / row["path"]).is_file()]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"Expected an embedded corpus. {folder} is damaged or not one ({error}). {remedy}"
            ) from error
        if version != self.identity:
            raise UserError(
                f"Expected version {self.identity} of the embedded corpora. {folder} holds {version!r}. {remedy}"
            )
        if lost:
            raise UserError(f"Expected a whole embedded corpus. {folder} lacks {len(lost)} files ({lost[0]}). {remedy}")
        return True

    def _make(self, corpora: Sequence[MiniCorpus]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from tasks.mini.building import build, sole_builder

        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_room()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            for corpus in corpora:
                place = self.folder / corpus.name
                bar = progress.add_task(f"Synthesising the {corpus.name} corpus", total=None)
                wait = partial(
                    progress.update, bar, description=f"Waiting: another process makes the {corpus.name} corpus"
                )
                with sole_builder(place, wait):
                    if self._is_complete(corpus):
                        continue
                    utterances = corpus.utterances(self._seed, self._scale)
                    progress.update(bar, total=len(utterances))
                    build(
                        corpus,
                        utterances,
                        place,
                        version=self.identity,
                        seed=self._seed,
                        num_processes=self._num_processes,
                        advance=partial(progress.advance, bar),
                    )

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.folder).free
        needed = int(FREE_BYTES_NEEDED * self._scale)
        if free < needed:
            raise UserError(
                f"The embedded corpora need {needed / 2**20:.0f} MiB. {self.folder} has {free / 2**20:.0f} MiB free. "
                f"{ELSEWHERE}"
            )
