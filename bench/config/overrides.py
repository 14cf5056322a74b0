"""``--set key=value``: parsed, sent to the settings it belongs to, and validated with a nearest name on errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from bench.errors import UserError
from bench.registry import nearest

_MESSAGES = {"path_type": "expected one path", "dict_type": "expected settings, key by key"}
"""Of pydantic's errors that speak of Python."""

Model = TypeVar("Model", bound=BaseModel)


def parse_overrides(assignments: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs; values are YAML, so ``0.5``, ``true`` and ``[conv, head]`` mean what they look like.

    Raises:
        UserError: no ``=`` in it, a value that is no YAML, or a key given twice.
    """
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise UserError(f"Expected --set key=value. Found {assignment!r}.")
        if key.strip() in overrides:
            raise UserError(f"--set {key.strip()} is given twice. Keep one of them.")
        try:
            overrides[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(
                f"Expected a YAML value in --set {assignment!r}. Quote it if it holds special characters."
            ) from error
    return overrides


def nested(values: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Lay dotted keys over nested mappings: ``{"a.b": 1}`` over ``{"a": {"b": 0, "c": 2}}`` changes ``b`` alone.

    An item of a list goes by its place: ``a.0.b``.
    """
    result = dict(base)
    for key, value in values.items():
        head, dot, rest = key.partition(".")
        if dot:
            inner = result.get(head)
            if isinstance(inner, list):
                items = nested({rest: value}, {str(place): item for place, item in enumerate(inner)})
                result[head] = list(items.values())
            else:
                result[head] = nested({rest: value}, inner if isinstance(inner, Mapping) else {})
        else:
            result[head] = value
    return result


def validated(kind: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """Validate settings, telling every mistake in one line.

    Args:
        kind: the settings' type.
        values: what was given, nested.
        where: what the error calls it, such as ``compressor dphubert``.

    Raises:
        UserError: unknown keys (with the nearest valid name), wrong types, values out of range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = " ".join(_explained(kind, problem) for problem in error.errors())
        raise UserError(f"In the settings of {where}: {problems}") from error


def _explained(kind: type[BaseModel], problem: Mapping[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    name = ".".join(location)
    if problem["type"] == "extra_forbidden":
        owner = _settings_at(kind, location[:-1])
        known = nearest(location[-1], owner.model_fields) if owner else ""
        return f"unknown key {name!r}. {known}"
    message = _MESSAGES.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    if problem["type"] == "missing":
        return f"{name} is missing."
    return f"{name or 'value'}: {message} (found {problem['input']!r})." if location else f"{message}."


def _settings_at(kind: type[BaseModel], location: Sequence[str]) -> type[BaseModel] | None:
    owner: type[BaseModel] | None = kind
    for part in location:
        if owner is None or part not in owner.model_fields:
            return None
        annotation = owner.model_fields[part].annotation
        owner = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return owner
