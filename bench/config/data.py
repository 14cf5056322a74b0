"""``--data``: embedded corpora by name, or a YAML file that describes the user's own corpora."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from bench import registry
from bench.audio.manifest import MANIFEST_SUFFIXES
from bench.config.overrides import nested, validated
from bench.contracts import AudioSource, Corpora, Data, Settings, Task
from bench.errors import UserError
from bench.files.yaml import read_yaml
from bench.registry import nearest
from bench.text import shortened

_EXAMPLE = "tasks: {ks: {manifest: mine.csv}}"

Entry = TypeVar("Entry", bound=Settings)


def describe_data(choice: str, overrides: Mapping[str, Any], tasks: Mapping[str, Any]) -> Data:
    """Resolve ``--data`` without making or reading any audio.

    Args:
        choice: name of embedded corpora, or path of a YAML file.
        overrides: dotted keys below ``data``.
        tasks: the chosen task classes by name. Each validates its own entry.

    Raises:
        UserError: unknown file, corpora or keys, or a chosen task without an entry.
    """
    data = _validated(choice, overrides)
    return _resolved(data, Path(choice).resolve().parent, tasks, choice)


def tasks_with_data(choice: str) -> list[str]:
    """List the tasks that the data have an entry for, which is the meaning of ``--tasks all``.

    Args:
        choice: see `describe_data`.

    Raises:
        UserError: unknown file, corpora or keys, an entry of a task that no plug-in provides, or no entry at all.
    """
    entries = named_tasks(choice)
    if not entries:
        raise UserError(f"--tasks all means every task of the data, and {choice} has none. Add tasks to it.")
    registry.require("bench.tasks", entries)
    return entries


def named_tasks(choice: str) -> list[str]:
    """List the tasks that the data have an entry for, whether or not a plug-in provides them.

    Raises:
        UserError: unknown file, corpora or keys.
    """
    return sorted(_validated(choice, {}).tasks)


def _validated(choice: str, overrides: Mapping[str, Any]) -> Data:
    if choice in registry.names("bench.corpora"):
        values = embedded(choice).data().model_dump(mode="json")
    else:
        path = Path(choice)
        values = {"name": path.stem, **_read_yaml(path)}
    return validated(Data, nested(overrides, values), f"the data {choice}")


def embedded(name: str) -> Corpora:
    """Instantiate the embedded corpora of this name."""
    corpora: Corpora = registry.load("bench.corpora", name)()
    return corpora


def _read_yaml(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():
        raise UserError(f"Expected a YAML file as --data. Found another kind of file at {path}. Name a regular file.")
    if not path.is_file():
        raise UserError(
            f"--data {shortened(str(path))}: no such file, and no embedded corpora of this name. "
            f"{registry.nearest(str(path), registry.names('bench.corpora'))}"
        )
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        raise UserError(
            f"Expected YAML as --data. Found the table {path}. Name it in a YAML file, by the task it is for, such as "
            f"tasks: {{ks: {{manifest: {path.name}}}}}."
        )
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(
            f"Expected the keys audio and tasks in {path}. Found {'text' if isinstance(values, str) else 'none'}. "
            f"Write e.g. {_EXAMPLE} into it."
        )
    if stray := [key for key in registry.names("bench.tasks") if key in values]:
        raise UserError(
            f"Expected {stray[0]} below tasks in {path}. Found it at the top level. Write tasks: {{{stray[0]}: ...}}."
        )
    tasks = values.get("tasks", {})
    if not isinstance(tasks, dict):
        raise UserError(
            f"Expected settings by task below tasks in {path}. Found {shortened(tasks)}. Write e.g. {_EXAMPLE}."
        )
    if plain := [name for name, entry in tasks.items() if not isinstance(entry, dict)]:
        raise UserError(
            f"Expected settings of the task {shortened(plain[0], 40)} in {path}, such as {{manifest: mine.csv}}. "
            f"Found {shortened(tasks[plain[0]])}."
        )
    return values


def _resolved(data: Data, base: Path, tasks: Mapping[str, Any], choice: str) -> Data:
    missing = sorted(set(tasks) - set(data.tasks))
    if missing:
        raise UserError(
            f"The data {choice} say nothing about {', '.join(missing)}. Add tasks.{missing[0]} to it "
            f"(it has: {', '.join(sorted(data.tasks)) or 'none'})."
        )
    entries = {}
    for name, task in tasks.items():
        entry = task_entry(task, data.tasks[name], f"the data {choice}, tasks.{name}", resample=data.resample)
        entries[name] = absolute(entry, base).model_dump(mode="json")
    audio = None
    if data.audio is not None:
        inherited = {"resample": data.audio.resample or data.resample, "hours": data.hours or data.audio.hours}
        audio = absolute(data.audio.model_copy(update=inherited), base)
    return data.model_copy(update={"audio": audio, "tasks": entries})


def task_entry(task: type[Task], values: Mapping[str, Any], where: str, *, resample: bool = False) -> Settings:
    """Validate a task's entry against the layout that it names.

    Args:
        task: the task's class.
        values: the entry.
        where: its name in errors.
        resample: resample if the entry does not say otherwise.

    Raises:
        UserError: unknown layout, unknown or missing keys, or wrong types.
    """
    default = "manifest" if "manifest" in values and "manifest" in task.layouts else next(iter(task.layouts))
    layout = values.get("layout", default)
    if not isinstance(layout, str) or layout not in task.layouts:
        raise UserError(
            f"In the settings of {where}: unknown layout {shortened(repr(layout), 40)}. "
            f"{nearest(str(layout), task.layouts)}"
        )
    kind = task.layouts[layout]
    # A layout's own default may be to resample.
    inherited = {"resample": True} if resample and "resample" in kind.model_fields else {}
    try:
        return validated(kind, {**inherited, **values}, where)
    except UserError as error:
        if "manifest" not in task.layouts or "layout" in values or "manifest" in values:
            raise
        raise UserError(
            f"{shortened(str(error), 200)} These are the settings of layout {layout}; list recordings of your own in "
            "a table, and write manifest: FILE.csv instead."
        ) from error


def absolute(entry: Entry, base: Path) -> Entry:
    """Resolve every path field against ``base``."""
    update = {
        name: (base / value).resolve()
        for name in type(entry).model_fields
        if isinstance(value := getattr(entry, name), Path)
    }
    return entry.model_copy(update=update)


def required_audio(data: Data) -> AudioSource:
    """Return the audio that compression trains on.

    Raises:
        UserError: the data have no audio for compression.
    """
    if data.audio is None:
        raise UserError(
            f"The data {data.name} name no audio to compress with. "
            "Add audio: {layout: folder, root: ...} to it, training speech only."
        )
    return data.audio
