"""The packages that superb-bench declares to need, and the commands that install them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import requires

from packaging.requirements import Requirement

DISTRIBUTION = "superb-bench"


def requirements(extra: str = "") -> list[Requirement]:
    """List what is always needed, or what an extra adds.

    Raises:
        PackageNotFoundError: superb-bench itself is not installed.
    """
    declared = [Requirement(text) for text in requires(DISTRIBUTION) or []]
    always = [one for one in declared if _applies(one, "")]
    return [one for one in declared if _applies(one, extra) and one not in always] if extra else always


def install_command(packages: Sequence[Requirement]) -> str:
    """Return the command that installs packages in the versions declared."""
    return " ".join(["pip install", *(f'"{one.name}{one.specifier}"' for one in packages)])


def extra_command(extra: str) -> str:
    """Return the command that installs an extra, wherever superb-bench itself came from.

    ``pip install "superb-bench[synth]"`` needs an index that has superb-bench, and ``pip install ".[synth]"`` a clone.
    """
    return install_command(requirements(extra))


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})
