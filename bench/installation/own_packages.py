"""Checks that `bench`, `compressors` and `tasks` are this project's packages: other projects use these names too."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from bench.errors import UserError

OWN_PACKAGES = ("bench", "compressors", "tasks")
MARK = "superb-bench"
"""The first line of every package's ``__init__.py`` contains it."""


def check_own_packages() -> None:
    """Refuse to work with another project's modules.

    Raises:
        UserError: one of our packages resolves to files that are not ours, which are named.
    """
    home = Path(__file__).resolve().parents[2]
    for name in OWN_PACKAGES:
        spec = find_spec(name)
        expected = home / name / "__init__.py"
        if spec is None or spec.origin is None:
            raise UserError(f"The package {name!r} of superb-bench is missing at {expected.parent}. {_REINSTALL}")
        found = Path(spec.origin).resolve()
        if found != expected:
            raise UserError(
                f"The name {name!r} leads to {found}, which is not part of superb-bench ({expected.parent} is). "
                "Rename it, take its folder out of PYTHONPATH, or run elsewhere."
            )
        with found.open(encoding="utf-8") as file:
            if MARK not in file.readline():
                raise UserError(f"Another package has overwritten {found}. Uninstall it. {_REINSTALL}")


_REINSTALL = "Install superb-bench again (pip install --force-reinstall --no-deps), best in an environment of its own."
