"""Standard output and error that are closed, full, not UTF-8, or a terminal that acts on what it is sent."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli import main
from bench.cli.logs import LineHandler
from bench.terminal.printing import print_json, print_rows
from bench.terminal.streams import LONGEST_LINE, print_line, say

BENCH = f'{sys.executable} -c "from bench.cli import main; main()"'


def shell(command: str) -> subprocess.CompletedProcess[str]:
    script = f"set -o pipefail; {command.replace('BENCH', BENCH)}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        ("BENCH list compressors >&-", 0),
        ("BENCH list compressors 2>&-", 0),
        ("BENCH list compressors <&- >&- 2>&-", 0),
        ("BENCH list absent 2>&-", 2),
        ("BENCH list absent 2>/dev/full", 2),
        ("BENCH list compressors >/dev/full", 2),
        ("BENCH list compressors --json | head -c 1", 0),
        ("PYTHONIOENCODING=ascii BENCH list compressors", 0),
    ],
)
def test_streams_that_cannot_be_written(command: str, exit_code: int) -> None:
    done = shell(command)
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1
    if ">/dev/full" in command and exit_code and "2>" not in command:
        assert "No space left" in done.stderr


def test_a_closed_stream_is_never_a_file_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "model"
    code = (
        "import os, sys; from bench.terminal import streams; streams.prepare(); file = open(sys.argv[1], 'w'); "
        "print('to standard output'); os.write(2, b'from a library')"
    )
    subprocess.run(["bash", "-c", '"$0" -c "$1" "$2" >&- 2>&-', sys.executable, code, str(path)], check=True)
    assert path.read_text() == ""


HOSTILE = "a\x1b]0;title\x07\x1b[31mb\r\x9b2J\u202e\udcffc"


@pytest.mark.parametrize(
    "show",
    [
        lambda: print_line(HOSTILE),
        lambda: print_rows([{HOSTILE: HOSTILE}], title=HOSTILE),
        lambda: print_json({HOSTILE: HOSTILE}),
        lambda: say(HOSTILE),
        lambda: LineHandler().handle(logging.makeLogRecord({"msg": HOSTILE})),
    ],
)
def test_the_terminal_gets_printable_characters_only(
    show: Callable[[], object], capsys: pytest.CaptureFixture[str]
) -> None:
    show()
    captured = capsys.readouterr()
    written = captured.out + captured.err
    assert written
    assert all(letter.isprintable() or letter == "\n" for letter in written)


def test_json_of_any_text_can_be_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([HOSTILE, "größe", "\x7f"])
    assert json.loads(capsys.readouterr().out) == [HOSTILE, "größe", "\x7f"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_of_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    monkeypatch.setattr(sys, "argv", ["bench", "list", "compressors"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    sys.stdout.write("94.20 ± 0.30 → 日本語\n")
    sys.stdout.flush()
    assert b"dphubert" in written.getvalue()
    assert "日本語".encode(encoding, errors="replace") in written.getvalue()


def test_lines_on_standard_error_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    say("error: start " + "\x1b" * 5000 + "\nmiddle\nadvice")
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= LONGEST_LINE
    assert line.startswith("error: start")
    assert line.endswith("advice")
