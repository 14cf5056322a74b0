"""The errors that users are meant to see."""

from typing import ClassVar


class UserError(Exception):
    """Wrong use or bad input, explained in one line: what was found, where, and how to fix it.

    The command line prints it after ``error:`` and exits with ``exit_code``. Other errors are bugs, with a traceback.
    """

    exit_code: ClassVar[int] = 2


class TrainingError(UserError):
    """Training failed on good input: its loss diverges or is not finite."""

    exit_code = 1


def hides_interrupt(error: BaseException) -> bool:
    """Return whether Ctrl-C caused this error indirectly: the clean-up code of some libraries raises its own error."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, KeyboardInterrupt):
        inner = inner.__cause__ or inner.__context__
    return inner is not None
