"""The work list of a run's folder with the state of every item, whoever works on it."""

from __future__ import annotations

from pathlib import Path

from bench.config.later_settings import brought_up_to_date
from bench.config.overrides import validated
from bench.config.run import RunConfig
from bench.errors import UserError
from bench.runs.failures import noted_reason
from bench.runs.states import State, States, states_of
from bench.runs.work import Evaluate, Item, WorkList
from bench.store.run_folder import RunFolder


def status_of(path: Path) -> States:
    """Look up the state of every item of a run, without taking a claim or writing anything.

    Args:
        path: the run's folder.

    Raises:
        UserError: it is no run's folder, or its configuration is of another version.
    """
    work = stored_work(path)

    def reason(item: Item) -> str | None:
        found = [noted_reason(work.folder, note) for note in item.notes.values()]
        return next((why for why in found if why is not None), None)

    return _with_models_elsewhere(states_of(work.items(), work.folder, reason))


def _with_models_elsewhere(states: States) -> States:
    """Say which compressions have been done although their models are not in the folder, since cells are."""
    cells: dict[Item, set[str]] = {}
    for item, state in states.items():
        for need in item.needs if isinstance(item, Evaluate) else ():
            cells.setdefault(need, set()).add(state.kind)
    found = dict(states)
    for item, kinds in cells.items():
        if item in found and found[item].kind in ("ready", "blocked") and "done" in kinds:
            is_needed = kinds != {"done"}
            why = "they are made again for its other cells" if is_needed else "all its cells are done"
            kind = found[item].kind if is_needed else "done"
            found[item] = State(kind, f"its models are not in this folder; {why}")
    return found


def stored_work(path: Path) -> WorkList:
    """Return the work list of a run's folder, from its ``config.yaml``.

    Raises:
        UserError: it is no run's folder, or its configuration is of another version.
    """
    folder = RunFolder(path)
    values = folder.read_config() if folder.config_path.is_file() else None
    if values is None:
        raise UserError(f"Expected a run's folder, with a config.yaml, at {path}. Found none. Name a run's folder.")
    return WorkList(folder, validated(RunConfig, brought_up_to_date(values), str(folder.config_path)))
