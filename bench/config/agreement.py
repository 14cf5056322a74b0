"""Whether two runs agree: the one answer of joining a folder, ranking runs together and comparing their models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.config.later_settings import brought_up_to_date
from bench.text import shortened

_EXTENDABLE = frozenset({"seeds", "data.audio_sha256"})
"""What a run may change. Audio that differs in bits is reported at the end of the run."""
_GROWING = frozenset({"models", "tasks", "data.tasks"})
"""What a run may have more of: entries that only one of two runs has do not differ."""


class Difference(NamedTuple):
    """The first setting that two runs do not share."""

    name: str
    there: Any
    here: Any

    def __str__(self) -> str:
        return f"{self.name}: {_shown(self.there)} there, {_shown(self.here)} here"


def first_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> Difference | None:
    """Find where two runs' configurations contradict each other, as far as both say something.

    Settings that one of them is too old to have are filled in.

    Args:
        there: what the ``config.yaml`` of one run holds.
        here: the same of the other.
    """
    return _difference(*_aligned(there, here))


def difference_of_tasks(
    there: Mapping[str, Any], here: Mapping[str, Any], *, same_data: Collection[str] = ()
) -> Difference | None:
    """Find where the tasks of two runs, or the data of these tasks, contradict each other; see `first_difference`.

    Args:
        there: what the ``config.yaml`` of one run holds.
        here: the same of the other.
        same_data: tasks whose data are known to be the same, whatever their settings.
    """
    one, other = _aligned({**there, "models": {}}, {**here, "models": {}})
    return _difference(_tasks_alone(one, same_data), _tasks_alone(other, same_data))


def _tasks_alone(config: Mapping[str, Any], same_data: Collection[str]) -> dict[str, Any]:
    entries = {name: entry for name, entry in config["data"]["tasks"].items() if name not in same_data}
    return {"data": {"tasks": entries}, "tasks": config["tasks"]}


def _aligned(there: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    there, here = brought_up_to_date(there), brought_up_to_date(here)
    if there["data"].get("version") != here["data"].get("version") or not here["data"].get("version"):
        return there, here
    # Embedded corpora are what their version says, wherever a machine has them.
    return _without_places(there), _without_places(here)


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "data": {**_without_paths(config["data"]), "embedded": None}}


def _without_paths(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _without_paths(value) for key, value in values.items()}
    return None if isinstance(values, str) and len(Path(values).parts) > 1 else values


def _difference(there: Any, here: Any, name: str = "") -> Difference | None:
    if name in _EXTENDABLE or there == here:
        return None
    if not (isinstance(there, Mapping) and isinstance(here, Mapping)):
        return Difference(name, there, here)
    keys = there.keys() & here.keys() if name in _GROWING else there.keys() | here.keys()
    for key in sorted(keys, key=str):
        inner = f"{name}.{key}" if name else str(key)
        if found := _difference(there.get(key), here.get(key), inner):
            return found
    return None


def _shown(value: Any) -> str:
    return shortened(repr(value) if isinstance(value, str) else value, 60)
