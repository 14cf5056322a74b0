"""Does one item of a run in this process, from the run's own ``config.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bench.config.run import RunConfig
from bench.errors import UserError
from bench.registry import nearest
from bench.runs.run import Run
from bench.runs.states import State
from bench.runs.status import stored_work
from bench.runs.work import Compress, Item, WorkList
from bench.text import shortened


def run_item(path: Path, label: str, device: Literal["cpu", "cuda"], cache_limit_bytes: int | None = None) -> State:
    """Do one item, unless it is done already. If another process works on it, wait for that process.

    A stack whose leading part is not done yet makes the part itself.

    Args:
        path: the run's folder.
        label: name of the item, as `bench status` and messages show it.
        device: where the item is done.
        cache_limit_bytes: see `Run`.

    Returns:
        The final state of the item; blocked if it needs items that are not done.

    Raises:
        UserError: no run's folder, no such item, or something that cannot work.
    """
    work = stored_work(path)
    run = Run(_config_of(work, _item(work, label)), path, device, cache_limit_bytes)
    states = run.executor.work_through(run.begin(only=[label]))
    (state,) = states.values()
    return state


def devices_of(path: Path, label: str) -> int:
    """Return the number of devices that one item trains on.

    Raises:
        UserError: no run's folder, or no such item.
    """
    work = stored_work(path)
    item = _item(work, label)
    if isinstance(item, Compress) and work.config.row(item.row).make_compressor().uses_devices():
        return work.config.devices
    return 1


def _item(work: WorkList, label: str) -> Item:
    items = {item.label: item for item in work.items()}
    if label not in items:
        raise UserError(f"Unknown item {shortened(repr(label))} of {work.folder.path}. {nearest(label, items)}")
    return items[label]


def _config_of(work: WorkList, item: Item) -> RunConfig:
    """Reduce the run's configuration to what one item needs, so that nothing else is checked or read."""
    config = work.config
    if isinstance(item, Compress):
        row, tasks, seeds = item.row, [], (item.seed,) if config.training_budget else config.seeds
    else:
        row, tasks = item.model.made_by.row if item.model.made_by else item.model.row, [item.task]
        # A task may train the heads of all seeds at once.
        seeds = tuple(cell.seed for cell in work.cells(item.model) if cell.task == item.task)
    learned = config.row(row).make_compressor().tasks_learned() if config.models[row].compressor else ()
    with_corpora = dict.fromkeys([*tasks, *learned])
    data = config.data.model_copy(update={"tasks": {name: config.data.tasks[name] for name in with_corpora}})
    return config.model_copy(
        update={
            "models": {row: config.models[row]},
            "tasks": {name: config.tasks[name] for name in tasks},
            "seeds": seeds,
            "data": data,
            "calls": (),
        }
    )
