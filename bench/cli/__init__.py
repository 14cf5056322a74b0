"""The command line: one file a verb, and one place where errors become a line and an exit code."""

from __future__ import annotations

import errno
import sys
from typing import Any, NoReturn

EXIT_INTERRUPTED = 130


def main() -> None:
    """Run ``bench`` and exit: 0 done, 1 some cell or training failed, 2 wrong use or bad input."""
    import typer

    from bench.cli.app import application
    from bench.cli.output import quiet_libraries
    from bench.errors import UserError

    # Here and not in the application: it changes the whole process, which others who call that (tests, notebooks) own.
    quiet_libraries()
    debug = "--debug" in sys.argv
    # Typer exports of its usage errors only this one; its base is what all wrong use raises.
    usage_error: Any = typer.BadParameter.__bases__[0]
    arguments = sys.argv[1:] or ["--help"]
    try:
        code = application()(arguments, standalone_mode=False)
    except UserError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except usage_error as error:
        _fail(error.format_message())
    except OSError as error:
        if debug or error.filename is None:
            raise
        _fail(_told(error))
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:
        _say("interrupted: run the same command again to go on where it stopped")
    sys.exit(code)


def _told(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"Expected to make or find a folder at {error.filename}. Found a file in its way. Choose another path."
    advice = "Free the disk, or choose" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Choose"
    return f"{error.strerror}: {error.filename}. {advice} another path."


def _fail(message: str, exit_code: int = 2) -> NoReturn:
    _say(f"error: {' '.join(message.split())}")
    sys.exit(exit_code)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
