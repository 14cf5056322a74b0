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


_interrupts: list[int] = []


def note_interrupt(number: int) -> None:
    """Remember that a signal has interrupted this process."""
    _interrupts.append(number)


def forget_interrupts() -> None:
    """Begin a command that nothing has interrupted yet."""
    _interrupts.clear()


def hides_interrupt(error: BaseException) -> bool:
    """Tell whether an error stands for an interrupt: libraries may replace `KeyboardInterrupt` by errors of their own.

    Some raise theirs while they clean up, so the interrupt is in its context. Native code may drop it altogether.
    """
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, KeyboardInterrupt):
        inner = inner.__cause__ or inner.__context__
    return inner is not None or bool(_interrupts)
