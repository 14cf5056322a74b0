"""Text files that people hand in: which are read, and how the others are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.files.text import read_text


def test_reads_what_other_systems_write(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffone\r\ntwö\rthree\n".encode())
    assert read_text(file) == "one\ntwö\nthree\n"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"one\ntw\xf6\n", "line 2"),
        (b"one\n\ntw\0o", "line 3"),
        (b"x" * 1001, "0.001 MB"),
        ("ö".encode("utf-16"), "line 1"),
    ],
)
def test_refuses_with_the_line(content: bytes, found: str, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    with pytest.raises(UserError, match=found) as error:
        read_text(file, max_bytes=1000)
    assert str(file) in str(error.value)


def test_refuses_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "none", Path("a\0b"), tmp_path / ("x" * 300)):
        with pytest.raises(UserError):
            read_text(path)
