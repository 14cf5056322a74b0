"""The command line: one file a verb, and one place where errors become a line and an exit code."""

from __future__ import annotations

import sys

from bench.cli import streams
from bench.cli.interruption import EXIT_INTERRUPTED, MESSAGE, ignore_further, raise_on_sigterm


def main() -> None:
    """Run ``bench`` and exit: 0 done, 1 some cell or training failed, 2 wrong use or bad input, 130 interrupted."""
    try:
        raise_on_sigterm()
        streams.prepare()
        code = _run(sys.argv[1:] or ["--help"])
        streams.finish()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except Exception as error:
        from bench.cli.faults import explained

        fault = explained(error)
        if fault is None or "--debug" in sys.argv:
            raise
        streams.say(f"error: {fault.message}")
        code = fault.exit_code
    if code == EXIT_INTERRUPTED:
        ignore_further()
        streams.say(MESSAGE)
    streams.abandon()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    import typer

    from bench.cli.app import application
    from bench.cli.logs import quiet_libraries

    # Here and not in the application: it changes the whole process, which others who call that (tests, notebooks) own.
    quiet_libraries()
    try:
        return application()(arguments, standalone_mode=False) or 0
    except typer.Abort:
        return EXIT_INTERRUPTED
