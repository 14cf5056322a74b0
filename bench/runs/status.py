"""The work list of a run's folder with the state of every item, whoever works on it."""

from __future__ import annotations

from pathlib import Path

from bench.config.later_settings import brought_up_to_date
from bench.config.overrides import validated
from bench.config.run import RunConfig
from bench.errors import UserError
from bench.runs.failures import noted_reason
from bench.runs.states import States, states_of
from bench.runs.work import Item, WorkList
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

    return states_of(work.items(), work.folder, reason)


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
