"""Lets a run continue after a failure, and shares the failure with the run's other processes."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from bench.errors import UserError, hides_interrupt
from bench.files.atomic import write_atomically
from bench.installation.broken import broken_dependency
from bench.out_of_memory import is_out_of_memory, out_of_memory_line
from bench.runs.work import Item
from bench.store.run_folder import RunFolder, RunFolderGoneError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Failures:
    """What failed while this process was running, in this process or in another one.

    Failures are logged at once and stored as notes in the run's folder. Notes from before this process began do not
    count: a new call tries their items once more. Only the holder of an item's claim writes or clears its note.

    Args:
        folder: of the run.
        noted_before: notes from before the run began, and when they were written, if another process knows.
    """

    def __init__(self, folder: RunFolder, noted_before: Mapping[Path, int] | None = None) -> None:
        self.folder = folder
        self._own: dict[str, str] = {}
        self.noted_before = dict(noted_before) if noted_before is not None else _times_of_notes(folder)

    def reason(self, item: Item) -> str | None:
        """Return why an item failed while this process was running; None if it did not."""
        for label, note in item.notes.items():
            if label in self._own:
                return self._own[label]
            if self._is_new(note) and (why := noted_reason(self.folder, note)) is not None:
                self._own[label] = why
                logger.error("%s failed in another process: %s", label, why)
                return why
        return None

    def label_of(self, item: Item) -> str:
        """Return which step of a failed item failed, such as loading its model."""
        return next((label for label in item.notes if label in self._own), item.label)

    def _is_new(self, note: str) -> bool:
        path = self.folder.failure_path(note)
        try:
            return self.noted_before.get(path) != path.stat().st_mtime_ns
        except OSError:
            return False

    def guard(self, label: str, work: Callable[[], Result], note: str) -> Result | None:
        """Return what ``work`` returns, or None if it fails.

        Args:
            label: name of the work in messages.
            work: the function to call.
            note: name of its note, see `RunFolder.failure_path`.

        Raises:
            RunFolderGoneError: the run's folder was deleted meanwhile.
            KeyboardInterrupt: the user interrupted the work, whatever error that led to.
        """
        try:
            return work()
        except RunFolderGoneError:
            raise
        except Exception as error:
            if hides_interrupt(error):
                raise KeyboardInterrupt from error
            self.folder.require_present()
            self.keep(label, note, _one_line(error), traceback.format_exc())
            return None

    def keep(self, label: str, note: str, reason: str, details: str = "") -> None:
        """Log a failure and write its note, whose last line is the reason."""
        self._own[label] = reason
        logger.error("%s failed: %s", label, reason)
        # A full or broken disk may be the failure itself.
        with contextlib.suppress(OSError):
            write_atomically(self.folder.failure_path(note), f"{details}\n{reason}\n".lstrip())

    def clear(self, note: str) -> None:
        """Remove a note, because its work has succeeded."""
        self.folder.failure_path(note).unlink(missing_ok=True)


def _times_of_notes(folder: RunFolder) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.failures_folder.glob("**/*.txt")}


def noted_reason(folder: RunFolder, note: str) -> str | None:
    """Return why work failed, from its note in the run's folder; None if it has none.

    Args:
        folder: of the run.
        note: name of the note, see `RunFolder.failure_path`.
    """
    try:
        text = folder.failure_path(note).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _one_line(error: Exception) -> str:
    if line := broken_dependency(error):
        return line
    if is_out_of_memory(error):
        return out_of_memory_line(error)
    message = " ".join(str(error).split())
    return message if isinstance(error, UserError) else f"{type(error).__name__}: {message}"
