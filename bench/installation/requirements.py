"""superb-bench's required packages, and the commands that install them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import requires

from packaging.requirements import Requirement

DISTRIBUTION = "superb-bench"


def requirements() -> list[Requirement]:
    """List the required packages, without the extras.

    Raises:
        PackageNotFoundError: superb-bench itself is not installed.
    """
    declared = [Requirement(text) for text in requires(DISTRIBUTION) or []]
    return [one for one in declared if one.marker is None or one.marker.evaluate({"extra": ""})]


def install_command(packages: Sequence[Requirement]) -> str:
    """Return the command that installs packages in the declared versions."""
    return " ".join(["pip install", *(f'"{one.name}{one.specifier}"' for one in packages)])


def command_for(*names: str) -> str:
    """Return the command that installs some of the required packages."""
    return install_command([one for one in requirements() if one.name in names])
