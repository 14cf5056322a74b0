"""Recognises errors of a broken installation: a package that is missing, or that fails to import."""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType, TracebackType

from bench.installation.own_packages import OWN_PACKAGES
from bench.text import shortened

LONGEST_REASON = 200
IMPORT_SYSTEM = "<frozen importlib"


def broken_dependency(error: BaseException) -> str | None:
    """Describe a failed import in one line, with the remedy. None if the error arose elsewhere.

    Failed imports raise any type of error: a library built for another version of torch gives an OSError, a clash of
    versions often an AttributeError.
    """
    module = _failed_import(error)
    if module is None:
        return None
    package = module.partition(".")[0]
    reason = shortened(" ".join(f"{type(error).__name__}: {error}".split()), LONGEST_REASON)
    return f"The package {package!r} cannot be imported ({reason}). Run `bench doctor`, which names the remedy."


def _failed_import(error: BaseException) -> str | None:
    """Name the module that could not be imported; None if the error did not arise in an import."""
    if isinstance(error, ImportError) and error.name:
        return error.name
    imported = [name for name in map(_module_being_imported, _frames(error.__traceback__)) if name]
    if imported:
        return imported[-1]
    return "an unknown package" if isinstance(error, ImportError) else None


def _frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _module_being_imported(frame: FrameType) -> str | None:
    """Return the name of another project's module that this frame imports or runs."""
    name: str | None = None
    if frame.f_code.co_filename.startswith(IMPORT_SYSTEM):
        name = frame.f_locals.get("name")
    elif frame.f_code.co_name == "<module>":
        name = frame.f_globals.get("__name__")
    is_ours = name is not None and name.partition(".")[0] in (*OWN_PACKAGES, "__main__")
    return None if is_ours else name
