"""The errors that users are meant to see."""

from typing import ClassVar


class UserError(Exception):
    """Wrong use or bad input, told in one line: what was found, where, and how to mend it.

    The command line prints it after ``error:`` and exits with ``exit_code``; everything else is a bug and shows as one.
    """

    exit_code: ClassVar[int] = 2


class TrainingError(UserError):
    """A training that went wrong on good input: its loss is not finite, or diverges."""

    exit_code = 1


def hides_interrupt(error: BaseException) -> bool:
    """Tell whether an error was raised while Ctrl-C was on its way through: some libraries' clean-up raises its own."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, KeyboardInterrupt):
        inner = inner.__cause__ or inner.__context__
    return inner is not None
