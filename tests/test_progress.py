"""Progress: bars on a terminal, lines with the time left elsewhere."""

from __future__ import annotations

import logging
import sys
import threading

import pytest

from bench import progress
from bench.cli.logs import LineHandler
from bench.progress import Progress, TimeLeft, duration, tracked
from tasks.bridge import logged_bar
from tasks.bridge.logged_bar import LoggedBar


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks 20 s each time it is read."""
    ticks = iter(range(0, 10**6, 20))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))


@pytest.mark.usefixtures("slow")
def test_lines_tell_the_time_left_where_there_is_no_terminal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert list(tracked(range(8), "features", 8, "files")) == list(range(8))
    assert caplog.messages
    assert all(line.startswith("features: ") and " of 8 files" in line for line in caplog.messages)
    assert any(line.endswith("left") for line in caplog.messages)


def test_parts_of_an_earlier_call_do_not_count_for_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    left = TimeLeft(total=100, done=90)
    monkeypatch.setattr("time.monotonic", lambda: left.started + 60)
    assert left.after(90) == ""
    assert left.after(95) == ", 1 min left"
    assert left.after(100) == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (59, "59 s"), (100, "2 min"), (7800, "2 h 10 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_quiet_commands_draw_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    for level, drawn in ((logging.INFO, True), (logging.WARNING, False), (logging.NOTSET, True)):
        monkeypatch.setattr(logging.getLogger("bench"), "level", level)
        assert progress.bars_are_drawn() == drawn


def test_bars_are_drawn_for_a_reader_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("bench"), "level", logging.NOTSET)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert not progress.bars_are_drawn()
    monkeypatch.setitem(sys.modules, "ipykernel", None)
    assert progress.bars_are_drawn()


def test_log_lines_stand_above_the_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "bars_are_drawn", lambda: True)
    bar = Progress("features", 10)
    bar.show(3)
    LineHandler().handle(logging.makeLogRecord({"msg": "evaluate ks: done"}))
    bar.close()
    written = capsys.readouterr().err
    assert "features" in written
    # The bar's line is cleared before, and drawn again after.
    before, after = written.split("evaluate ks: done\n")
    assert before.endswith("\r")
    assert "features" in after


class TestLoggedBar:
    @pytest.fixture(autouse=True)
    def often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(logged_bar, "SECONDS_BETWEEN_LINES", 0.0)

    def test_counts_and_logs(self, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
        caplog.set_level(logging.INFO)
        bar = LoggedBar(total=10, desc="train", dynamic_ncols=True, file=sys.stderr)
        bar.n = 4
        bar.update(1)
        bar.update(1)
        assert bar.n == 6
        bar.close()
        assert caplog.messages == ["train: 5 of 10, 1 s left", "train: 6 of 10, 1 s left"]
        assert capsys.readouterr().err == ""

    def test_iterates(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        assert list(LoggedBar(range(3), desc="dev", total=3)) == [0, 1, 2]
        assert [message.partition(",")[0] for message in caplog.messages] == [f"dev: {n} of 3" for n in (1, 2, 3)]


def test_bars_start_no_thread() -> None:
    before = threading.enumerate()
    bar = Progress("features", 10)
    s3prl_bar = LoggedBar(total=10)
    assert threading.enumerate() == before
    bar.close()
    s3prl_bar.close()


def test_work_reports_how_far_it_is_to_whoever_wants_to_know() -> None:
    reported: list[str] = []
    with progress.reported_to(reported.append):
        assert list(tracked(range(3), "features", 3, "files")) == [0, 1, 2]
    assert reported[0].startswith("features: 1 of 3 files")
    assert reported[-1] == "features: 3 of 3 files"
    list(tracked(range(2), "labels", 2, "files"))
    assert len(reported) == 3
