"""JSON as people and disks damage it: values of other types, keys that are gone, bytes that are cut or flipped."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from([10**30, 2**63, 1e308, -1, 0, "NaN", "../x", "=x", "a\rb", "\x1b]0;x\x07", "1e400", {}, []]),
)
GONE = object()

HOSTILE: list[Any] = [
    10**7, 10**9, 10**30, -1, 0, 1.5, 1e30, 5.0, float("nan"), float("inf"), True, None, "", "x" * 10_000, [], {},
    [10**9], [1] * 100_000, [[1]] * 300, {"a": {"b": []}}, "512",
]  # fmt: skip
"""Values that no configuration has in any of its places."""


@st.composite
def damaged_json(draw: st.DrawFn, value: Any) -> bytes:
    """Draw a document that was a value before somebody, or a disk, changed some of it."""
    changed = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(changed))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        new = draw(st.one_of(st.just(GONE), ODD_VALUES))
        if new is not GONE:
            holder[key] = new
        else:
            del holder[key]
    content = bytearray(json.dumps(changed).encode())
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(content) - 1))
        content[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
        if not content:
            break
    return bytes(content)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """List all places in nested lists and mappings, as their holder and key."""
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value))
    else:
        return
    for key, inner in entries:
        yield value, key
        yield from _places(inner)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the places of all values within a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix, *(path for key, inner in items for path in paths(inner, (*prefix, key)))]


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Copy a JSON document with another value in one place."""
    if not path:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed
