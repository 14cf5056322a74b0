"""Reads the user's YAML within limits, and writes YAML that is read back as the same values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.constructor import ConstructorError

from bench.errors import UserError
from bench.files.text import is_plain, read_text
from bench.text import shortened

MAX_YAML_BYTES = 10**6
MAX_NODES = 50_000
"""Most scalars, lists and mappings. An alias counts as many nodes as the value that it refers to."""
MAX_DEPTH = 50
"""Deepest nesting of lists and mappings."""
MAX_INTEGER = 2**63

_PREFIX = "tag:yaml.org,2002:"
_SYNTAX_REMEDY = "Indent with spaces, write / in paths, and quote text that holds special characters"
_CONTROL = yaml.reader.Reader.NON_PRINTABLE


def read_yaml(path: Path, *, max_bytes: int = MAX_YAML_BYTES) -> Any:
    """Read a YAML file in UTF-8.

    Args:
        path: path of the file.
        max_bytes: larger files are refused before they are read.

    Raises:
        UserError: the file cannot be read, or `parse_yaml` refuses its content. The error names the file.
    """
    return parse_yaml(read_text(path, max_bytes=max_bytes), str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML of text, numbers, booleans, null, lists and mappings.

    As in YAML 1.2, ``1e4`` is a number, and ``1:30`` and ``2020-01-01`` are text.

    Args:
        text: the document.
        where: its name in errors, such as the file's path.

    Raises:
        UserError: the text is not YAML, exceeds this module's limits, or contains a value that does not match its tag,
            a duplicate key, an alias inside the value that it refers to, or unprintable text. The error names the line.
    """
    if control := _CONTROL.search(text):
        _refuse(where, f"the character {control[0]!r}", text.count("\n", 0, control.start()))
    try:
        _require_small(text, where)
        return yaml.load(text, Loader=_Loader)  # A safe loader.
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        found = ", ".join(part for part in (error.context, error.problem) if part)
        remedy = "Correct it" if isinstance(error, ConstructorError) else _SYNTAX_REMEDY
        _refuse(where, shortened(found, 150), mark.line if mark else 0, remedy, error)


def dump_yaml(values: Any) -> str:
    """Write plain values as YAML that `parse_yaml` reads as the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _refuse(
    where: str, found: str, line: int, remedy: str = "Remove it", cause: yaml.YAMLError | None = None
) -> NoReturn:
    raise UserError(f"Expected YAML in {where}. Found in line {line + 1}: {found.rstrip('.')}. {remedy}.") from cause


def _require_small(text: str, where: str) -> None:
    """Count nodes before any is built: a few hundred characters of aliases can expand to billions of nodes."""
    nodes = 0
    sizes: dict[str | None, int] = {}
    open_: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line if event.start_mark else 0
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor is not None:
                sizes[anchor] = nodes - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_):
                _refuse(where, "an alias within what it stands for", line)
            nodes += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
        if len(open_) > MAX_DEPTH:
            _refuse(where, f"over {MAX_DEPTH} lists or mappings within each other", line)
        if nodes > MAX_NODES:
            _refuse(where, f"over {MAX_NODES:,} values, aliases counted as what they stand for", line)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses, with a line number, input on which SafeLoader crashes or which it silently misreads."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        # Raised for int("xx"), the look-up of !!bool zz, an empty !!int, and !!float 1:1:1...
        except (ValueError, KeyError, IndexError, OverflowError) as error:
            kind = node.tag.removeprefix(_PREFIX)
            raise ConstructorError(
                None, None, f"no {kind}: {shortened(str(node.value), 40)!r}", node.start_mark
            ) from error
        if isinstance(value, int) and abs(value) >= MAX_INTEGER:
            raise ConstructorError(None, None, f"a number that is too large: {shortened(value, 40)}", node.start_mark)
        if isinstance(value, str) and not is_plain(value):
            raise ConstructorError(None, None, f"text that no file name can hold: {value[:40]!r}", node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # Before `<<` merges further keys. The mapping's own keys take precedence over those.
        if isinstance(node, yaml.MappingNode):
            _require_different_keys(node)
        values: dict[Any, Any] = super().construct_mapping(node, deep)
        return values

    def refuse_tag(self, node: yaml.Node) -> NoReturn:
        raise ConstructorError(None, None, f"the tag {shortened(node.tag, 60)}", node.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes text that `_Loader` would read as another type."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _require_different_keys(node: yaml.MappingNode) -> None:
    names = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in names:
            raise ConstructorError(None, None, f"the key {shortened(key.value, 40)!r} twice", key.start_mark)
        names.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))


def _use_few_tags() -> None:
    """Keep only text, numbers, booleans, null, lists and mappings, with numbers as in YAML 1.2."""
    kept = {f"{_PREFIX}{kind}" for kind in ("str", "bool", "null", "seq", "map", "int", "float")}
    _Loader.yaml_constructors = {
        tag: constructor for tag, constructor in _Loader.yaml_constructors.items() if tag in kept
    }
    _Loader.add_constructor(None, _Loader.refuse_tag)
    replaced = {f"{_PREFIX}{kind}" for kind in ("int", "float", "timestamp", "value")}
    for side in (_Loader, _Dumper):
        side.yaml_implicit_resolvers = {
            letter: [(tag, pattern) for tag, pattern in resolvers if tag not in replaced]
            for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }
        side.add_implicit_resolver(f"{_PREFIX}int", re.compile(_INTEGER), list("-+0123456789"))
        side.add_implicit_resolver(f"{_PREFIX}float", re.compile(_FLOAT), list("-+0123456789."))


_INTEGER = r"^(?:[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F_]+)$"
_FLOAT = (
    r"^(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*\.[0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_use_few_tags()
