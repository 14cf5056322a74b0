"""JSON that people hand in: what is read as it stands, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.files.json import MAX_DEPTH, parse_json, read_json


def test_reads_plain_values(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes('\ufeff{"a": [1, 2.5, null, "é\\ud83d\\ude00"],\r\n "b": "\\\\u0000 [["}'.encode())
    assert read_json(file) == {"a": [1, 2.5, None, "é😀"], "b": "\\u0000 [["}


def test_depth_counts_brackets_outside_text_alone() -> None:
    assert parse_json('"' + "[" * 500 + '\\""', "it") == "[" * 500 + '"'
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH, "it")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[" * 10_000, "100"),
        ("[1,\n 2,,]", "line 2"),
        ("[NaN]", "NaN"),
        ("[-Infinity]", "Infinity"),
        ("[1e999]", "1e999"),
        ("9" * 5_000, "too large"),
        ('{"a": 1, "a": 2}', "'a'"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"\\u0000": 1}', "NUL"),
        ("", "column 1"),
    ],
)
def test_refuses_with_the_place(text: str, found: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(UserError, match=found) as error:
        read_json(file)
    assert str(file) in str(error.value)


def test_refuses_a_large_file_unread(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    with file.open("wb") as opened:
        opened.truncate(10**12)
    with pytest.raises(UserError, match="10 MB"):
        read_json(file)
