"""Whether a run may use a folder in which it, or a part of it, has run before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.config.compatibility import first_difference
from bench.config.overrides import validated
from bench.config.run import Call, RunConfig
from bench.errors import UserError
from bench.runs.rows import rows_to_come
from bench.store.run_folder import RunFolder


def join_run(folder: RunFolder, config: RunConfig) -> dict[str, Any]:
    """Check that a run may use its folder, and return the future content of its ``config.yaml``.

    A folder accepts further models, tasks and seeds. Everything that both configurations name must agree.

    Raises:
        UserError: the folder holds a run with another configuration, or two models would have one name.
    """
    values = config.model_dump(mode="json")
    there = folder.read_config()
    _require_different_names(folder, config, there or {})
    if there is None:
        return values
    difference = first_difference(there, values)
    if difference:
        raise UserError(
            f"--out {folder.path} holds a run with another configuration ({difference}). "
            "Choose another --out, or delete that folder."
        )
    merged = {**there, **values}
    for key in ("models", "tasks"):
        merged[key] = {**there.get(key, {}), **values[key]}
    merged["data"] = {**values["data"], "tasks": {**there["data"]["tasks"], **values["data"]["tasks"]}}
    if calls := _calls(there, config.call()):
        merged["calls"] = calls
    else:
        merged.pop("calls", None)
    merged["seeds"] = sorted({*there.get("seeds", []), *values["seeds"]})
    return merged


def _calls(there: Mapping[str, Any], call: Call) -> list[dict[str, Any]]:
    """Add a call to those of the folder. Empty if one of them asks for all that any of them asks for."""
    stored = there.get("calls")
    if not stored:
        stored = [{"models": list(there["models"]), "tasks": list(there["tasks"]), "seeds": there["seeds"]}]
    calls = [validated(Call, values, "calls of config.yaml") for values in stored]
    if not any(earlier.covers(call) for earlier in calls):
        calls = [*(earlier for earlier in calls if not call.covers(earlier)), call]
    return [each.model_dump(mode="json") for each in calls] if len(calls) > 1 else []


def _require_different_names(folder: RunFolder, config: RunConfig, there: Mapping[str, Any]) -> None:
    owners: dict[str, str] = {}
    earlier = [row for row in there.get("models", {}) if row not in config.models]
    for row in (*config.models, *earlier):
        for name in _names_of(row, folder, config):
            if name in owners:
                raise UserError(
                    f"Two models of --out {folder.path} would be called {name!r}, of the rows {owners[name]} and "
                    f"{row}. Rename one: a row as NAME=COMPRESSOR, a model evaluated as it is by its folder."
                )
            owners[name] = row


def _names_of(row: str, folder: RunFolder, config: RunConfig) -> Sequence[str]:
    """List the models of a row, which may be several; for rows of earlier calls, only finished models."""
    finished = folder.finished_compression(row)
    if finished:
        return finished.models
    return rows_to_come(config, row) if row in config.compressors() else [row]
