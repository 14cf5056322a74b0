"""The one error that users are meant to see."""


class UserError(Exception):
    """Wrong use or bad input, told in one line: what was found, where, and how to mend it.

    The command line prints it after ``error:`` and exits with 2; everything else is a bug and shows as one.
    """
