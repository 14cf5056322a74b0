"""Whether two runs are compatible. Decides about sharing a folder, ranking, comparison and reuse of compressions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench import registry
from bench.config.data import embedded
from bench.config.later_settings import brought_up_to_date, with_later_settings
from bench.text import shortened

_EXTENDABLE = frozenset({"seeds", "calls", "devices", "data.audio_sha256"})
"""Settings that a run may change. Devices change a model by rounding only; audio that differs in bits is reported at
the end of the run."""
_GROWING = frozenset({"models", "tasks", "data.tasks"})
"""Settings with named entries. An entry that only one of two runs has is not a difference."""

AUDIO_SHA256 = "training_audio_sha256"
"""Key of a model's provenance with the content hash of the user's audio that the model was made with."""


class Difference(NamedTuple):
    """The first setting in which two runs differ."""

    name: str
    there: Any
    here: Any

    def __str__(self) -> str:
        return f"{self.name}: {_shown(self.there)} there, {_shown(self.here)} here"


def first_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> Difference | None:
    """Find the first difference between the configurations of two runs, among entries that both have.

    Settings that did not exist when one of them was written are filled in.

    Args:
        there: content of one run's ``config.yaml``.
        here: content of the other's.
    """
    return difference(*_aligned(there, here))


def difference_of_tasks(
    there: Mapping[str, Any], here: Mapping[str, Any], *, same_data: Collection[str] = ()
) -> Difference | None:
    """Find the first difference between the tasks of two runs, or the data of these tasks; see `first_difference`.

    Args:
        there: content of one run's ``config.yaml``.
        here: content of the other's.
        same_data: tasks whose data are known to be the same, whatever their settings.
    """
    one, other = _aligned({**there, "models": {}}, {**here, "models": {}})
    return difference(_tasks_alone(one, same_data), _tasks_alone(other, same_data))


def difference_of_models(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> Difference | None:
    """Find the first difference between a finished compression and the wanted one.

    Args:
        there: provenance in the model's folder.
        wanted: everything that the result depends on, with the keys of the provenance.
    """
    recipe = with_later_settings("bench.compressors", wanted["compressor"], there.get("recipe", {}), wanted["preset"])
    found = {**{key: there.get(key) for key in wanted}, "recipe": recipe}
    if AUDIO_SHA256 in wanted and AUDIO_SHA256 not in there:  # A model of an early version.
        found[AUDIO_SHA256] = wanted[AUDIO_SHA256]
    data = wanted["data"]
    if isinstance(found["data"], Mapping) and _is_embedded(data["name"]):
        found["data"], data = _without_paths(found["data"]), _without_paths(data)
    return difference(found, {**wanted, "data": data})


def difference(there: Any, here: Any, name: str = "") -> Difference | None:
    """Return the first setting, by name, in which two nested mappings differ.

    Args:
        there: settings of one run.
        here: settings of the other.
        name: dotted name of these settings.
    """
    if name in _EXTENDABLE or there == here:
        return None
    if not (isinstance(there, Mapping) and isinstance(here, Mapping)):
        return Difference(name, there, here)
    keys = there.keys() & here.keys() if name in _GROWING else there.keys() | here.keys()
    for key in sorted(keys, key=str):
        inner = f"{name}.{key}" if name else str(key)
        if found := difference(there.get(key), here.get(key), inner):
            return found
    return None


def _is_embedded(identity: str) -> bool:
    return any(embedded(name).data().identity == identity for name in registry.names("bench.corpora"))


def _tasks_alone(config: Mapping[str, Any], same_data: Collection[str]) -> dict[str, Any]:
    entries = {name: entry for name, entry in config["data"]["tasks"].items() if name not in same_data}
    return {"data": {"tasks": entries}, "tasks": config["tasks"]}


def _aligned(there: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    there, here = brought_up_to_date(there), brought_up_to_date(here)
    if not (there["data"].get("version") and here["data"].get("version")):
        return there, here
    # The version identifies embedded corpora, wherever a machine stores them.
    return _without_places(there), _without_places(here)


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "data": {**_without_paths(config["data"]), "embedded": None}}


def _without_paths(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _without_paths(value) for key, value in values.items()}
    return None if isinstance(values, str) and len(Path(values).parts) > 1 else values


def _shown(value: Any) -> str:
    return shortened(repr(value) if isinstance(value, str) else value, 60)
