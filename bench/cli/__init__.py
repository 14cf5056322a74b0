"""The command line: one file per verb. Errors become a line and an exit code here."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.cli.interruption import EXIT_INTERRUPTED, MESSAGE, end_process, ignore_further, raise_on_sigterm
from bench.errors import UserError, forget_interrupts, hides_interrupt
from bench.installation.broken import broken_dependency
from bench.installation.environment import check_environment
from bench.installation.own_packages import check_own_packages
from bench.stopping import stop_when_asked
from bench.terminal import streams


def main() -> None:
    """Run ``bench`` and exit: 0 done, 1 a cell or training failed, 2 wrong use or bad input, 130 interrupted."""
    try:
        raise_on_sigterm()
        stop_when_asked()
        streams.prepare()
        code = _run(sys.argv[1:] or ["--help"])
        streams.finish()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except Exception as error:
        message, code = (None, EXIT_INTERRUPTED) if hides_interrupt(error) else _explained(error)
        if code != EXIT_INTERRUPTED and (message is None or "--debug" in sys.argv):
            raise
        if message is not None:
            streams.say(f"error: {message}")
    if code == EXIT_INTERRUPTED:
        ignore_further()
        streams.say(MESSAGE)
        forget_interrupts()
    streams.abandon()
    sys.exit(code)


def program() -> None:
    """Run ``bench`` as this process's only task. `main` is for callers that continue after an interrupt."""
    try:
        main()
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:
            end_process()
        raise


def _run(arguments: list[str]) -> int:
    import typer

    from bench.cli.app import command
    from bench.cli.logs import quiet_libraries

    # Not in the application: this changes the whole process, which other callers (tests, notebooks) own.
    quiet_libraries()
    _require_current_folder()
    check_own_packages()
    check_environment()
    try:
        return command()(arguments, standalone_mode=False) or 0
    except typer.Abort:
        return EXIT_INTERRUPTED


def _require_current_folder() -> None:
    # If the folder is gone, native libraries end the process with a message of their own.
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("Expected a current folder. It was deleted. Go to another one with cd.") from error


def _explained(error: Exception) -> tuple[str | None, int]:
    """Return the user's message, None for a bug, and the exit code."""
    message = broken_dependency(error)
    if message is None:
        # Imported late, because typer itself may be broken.
        from bench.cli.faults import explained

        fault = explained(error)
        return (fault.message, fault.exit_code) if fault else (None, 1)
    return message, 2
