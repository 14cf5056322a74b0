"""The base class of every typed configuration."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

LARGEST_NUMBER = 2**53
"""Larger whole numbers in settings are mistakes, and a float cannot hold them exactly. They are refused."""


class Settings(BaseModel):
    """Base of every typed configuration: frozen, unknown keys are errors, and field docstrings are the help text.

    Numbers are finite. ``1e4`` is a whole number; ``5.5``, true and false are not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @classmethod
    def as_kept(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Convert settings that an earlier version stored to this version's. Default: no change."""
        return dict(settings)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        for item in value if isinstance(value, list | tuple) else [value]:
            annotation: Any = cls.model_fields[info.field_name or ""].annotation
            if isinstance(item, bool) and not _takes_booleans(annotation):
                raise ValueError(f"true and false do not belong here (found {item})")
            if isinstance(item, int) and abs(item) > LARGEST_NUMBER:
                raise ValueError(f"no number here is larger than {LARGEST_NUMBER}")
        return value

    def fields_without_effect(self) -> Collection[str]:
        """Name the fields that have no effect given the others. They are not stored, and ``--set`` refuses them."""
        return ()

    @model_serializer(mode="wrap")
    def _fields_of_effect(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        void = self.fields_without_effect()
        values: dict[str, Any] = handler(self)
        return {field: value for field, value in values.items() if field not in void}


@cache
def _takes_booleans(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_takes_booleans(part) for part in get_args(annotation))
