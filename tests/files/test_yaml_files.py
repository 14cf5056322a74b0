"""YAML that people write: what is read as which value, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.files.yaml import dump_yaml, parse_yaml, read_yaml
from tests.fuzz.harness import ends_well

BOMB = "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)), "name: *a8"])
MERGE_BOMB = "\n".join(
    ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 9))]
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e4", 1e4),
        ("1e-4", 1e-4),
        ("1_000", 1000),
        ("0x10", 16),
        ("-.5", -0.5),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("007", "007"),
        ("=", "="),
        ("yes", True),
        ("", None),
        ("{<<: {a: 1, b: 1}, b: 2}", {"a": 1, "b": 2}),
        ("[&a {x: 1}, *a]", [{"x": 1}, {"x": 1}]),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert parse_yaml(text, "it") == value


@pytest.mark.parametrize(
    "text", ["1e4", "2020-01-01", "1:30", "007", "0o7", "yes", "null", ".5", "1_000", "-", "=", "<<", " x", "é\n\u2028"]
)
def test_text_is_written_so_that_it_stays_text(text: str) -> None:
    assert parse_yaml(dump_yaml({"key": [text]}), "it") == {"key": [text]}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\nb: !!int xx", "line 2.*'xx'"),
        ("a: !!bool zz", "line 1.*'zz'"),
        ("a: !!float 1" + ":1" * 400, "no float"),
        ("a: !!int ''", "no int"),
        ("a: !!timestamp 2020-13-01", "timestamp"),
        ("a: !!python/object:os.system x", "python/object"),
        ("a: !" + "x" * 5_000, "the tag"),
        ("a: 0x" + "f" * 5_000, "too large"),
        ("a: " + "9" * 5_000, "no int"),
        ("a: 1\nb: 2\na: 3", "line 3.*'a' twice"),
        ("a: {<<: 3}", "line 1.*merging"),
        ('a: "x\\0y"', "line 1"),
        ("a\n\0", "line 2"),
        ("\ud800", "line 1"),
        ("[" * 500 + "]" * 500, "line 1"),
        ("a:\n- &b [*b]", "line 2.*alias"),
        (BOMB, "line 6.*50,000"),
        (MERGE_BOMB, "line 6.*50,000"),
        ("a: [1", "Indent with spaces"),
        ("a:\n\tb: 1", "line 2"),
        ("a\n---\nb", "line 2"),
        ("? [a]\n: b", "unhashable"),
        ("!!map [1]", "line 1"),
    ],
)
def test_mistakes_are_refused_with_the_line(text: str, found: str) -> None:
    with pytest.raises(UserError, match=found) as error:
        parse_yaml(text, "data.yaml")
    assert "data.yaml" in str(error.value)
    assert ends_well(lambda given: parse_yaml(given, "data.yaml"), text)


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "data.yaml"
    with file.open("wb") as opened:
        opened.truncate(10**12)
    with pytest.raises(UserError, match="1 MB") as error:
        read_yaml(file)
    assert str(file) in str(error.value)
