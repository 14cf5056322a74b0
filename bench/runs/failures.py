"""Keeps one failure from ending a run."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable
from typing import TypeVar

from bench.errors import UserError
from bench.files.atomic import write_atomically
from bench.installation.broken import broken_dependency
from bench.out_of_memory import is_out_of_memory, out_of_memory_line
from bench.store.run_folder import RunFolder, RunFolderGoneError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Failures:
    """What failed so far: logged at once, kept in the run's folder, and tried again by the next call.

    Several processes share the notes in the folder. Only the holder of the claim on a piece of work clears its note.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.reasons: dict[str, str] = {}

    def guard(self, what: str, work: Callable[[], Result], note: str | None = None) -> Result | None:
        """Return what ``work`` returns, or None where it fails; the caller holds the claim on it, if there is one.

        Args:
            what: the work, in messages.
            work: is called.
            note: the work in the name of its note, by default as in messages; see `RunFolder.failure_path`.

        Raises:
            RunFolderGoneError: the run's folder was deleted meanwhile.
        """
        try:
            return work()
        except RunFolderGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - plug-ins may raise anything, and finished cells must stand
            self.folder.require_present()
            self.reasons[what] = _one_line(error)
            logger.error("%s failed: %s", what, self.reasons[what])
            # The disk may be what failed.
            with contextlib.suppress(OSError):
                write_atomically(self.folder.failure_path(note or what), traceback.format_exc())
            return None

    def clear(self, note: str) -> None:
        """Remove a note once its work has succeeded; the caller holds the claim on it."""
        self.folder.failure_path(note).unlink(missing_ok=True)


def _one_line(error: Exception) -> str:
    if line := broken_dependency(error):
        return line
    if is_out_of_memory(error):
        return out_of_memory_line(error)
    told = " ".join(str(error).split())
    return told if isinstance(error, UserError) else f"{type(error).__name__}: {told}"
