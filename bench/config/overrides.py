"""``--set key=value``: parsing, nested settings, and validation that suggests the nearest name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench.errors import UserError
from bench.files.text import is_plain
from bench.files.yaml import parse_yaml
from bench.registry import nearest
from bench.text import shortened

MAX_DOTS = 20
"""Most dots in a key."""
MAX_PROBLEMS = 3
"""Most mistakes that one message explains."""
MAX_MESSAGE = 380
"""Longest message, in characters. Its end says what to do."""

_MESSAGES = {"path_type": "expected one path", "dict_type": "expected settings, key by key"}
"""Replacements for pydantic's messages that mention Python types."""

Model = TypeVar("Model", bound=BaseModel)


def parse_overrides(assignments: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs. Values are YAML, so ``0.5``, ``true`` and ``[conv, head]`` have their usual meaning.

    Raises:
        UserError: there is no ``=``, a dotted key has an empty name, a value is not YAML, or a key is given twice.
    """
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        names = key.split(".")
        if not equals or not is_plain(assignment) or not all(names) or len(names) > MAX_DOTS:
            raise UserError(f"Expected --set key=value. Found {shortened(assignment)!r}.")
        if key in overrides:
            raise UserError(f"--set {shortened(key)} is given twice. Keep one of them.")
        overrides[key] = parse_yaml(text, f"--set {shortened(key)}")
    return overrides


def nested(values: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Apply dotted keys to nested mappings: ``{"a.b": 1}`` on ``{"a": {"b": 0, "c": 2}}`` changes only ``b``.

    List items are addressed by index, such as ``a.0.b``. The item must exist.

    Raises:
        UserError: a list has no item of this index.
    """
    result = dict(base)
    for key, value in values.items():
        _lay(result, key, key.split("."), value)
    return result


def _lay(result: dict[str, Any], key: str, path: Sequence[str], value: Any) -> None:
    head, *rest = path
    if not rest:
        result[head] = value
        return
    inner = result.get(head)
    if isinstance(inner, list | tuple):
        items = {str(place): item for place, item in enumerate(inner)}
        if rest[0] not in items:
            raise UserError(
                f"--set {shortened(key)}: {shortened(head)} has {len(items)} items, numbered from 0. "
                f"Found no item {shortened(rest[0])!r}."
            )
        _lay(items, key, rest, value)
        result[head] = list(items.values())
    else:
        result[head] = dict(inner) if isinstance(inner, Mapping) else {}
        _lay(result[head], key, rest, value)


def validated(kind: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """Validate settings. All mistakes are reported in one line.

    Args:
        kind: type of the settings.
        values: the given values, nested.
        where: name of the settings in errors, such as ``compressor dphubert``.

    Raises:
        UserError: unknown keys (with the nearest valid name), wrong types, or values out of range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        text = " ".join(_explained(kind, problem) for problem in problems[:MAX_PROBLEMS])
        others = f" And {len(problems) - MAX_PROBLEMS} more." if len(problems) > MAX_PROBLEMS else ""
        raise UserError(
            shortened(f"In the settings of {shortened(where, 200)}: {text}{others}", MAX_MESSAGE)
        ) from error


def _explained(kind: type[BaseModel], problem: Mapping[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    name = shortened(".".join(location), 60)
    if problem["type"] == "extra_forbidden":
        owner = _settings_at(kind, location[:-1])
        known = nearest(location[-1], owner.model_fields) if owner else ""
        return f"unknown key {name!r}. {known}"
    message = shortened(_MESSAGES.get(problem["type"], problem["msg"].removeprefix("Value error, ")), 160)
    if problem["type"] == "missing":
        return f"{name} is missing."
    given = problem["input"]
    found = shortened(repr(given) if isinstance(given, str) else given, 60)
    return f"{name or 'value'}: {message} (found {found})." if location else f"{message}."


def _settings_at(kind: type[BaseModel], location: Sequence[str]) -> type[BaseModel] | None:
    owner: type[BaseModel] | None = kind
    for part in location:
        if owner is None or part not in owner.model_fields:
            return None
        annotation = owner.model_fields[part].annotation
        owner = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return owner
