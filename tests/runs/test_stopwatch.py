"""Where the time of a cell goes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from bench import stopwatch as module
from bench.stopwatch import measuring, stopwatch
from tests.helpers.command_line import bench
from tests.runs.test_estimates import data  # noqa: F401 - a fixture


def test_a_part_pauses_the_one_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 3.0, 6.0, 10.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(ticks))
    with stopwatch() as watch, measuring("head"), measuring("upstream"):
        pass
    assert watch.seconds == {"head": 2.0 + 4.0, "upstream": 3.0}
    assert watch.shares() == "head 67 %, upstream 33 %"


def test_nothing_is_measured_outside() -> None:
    with measuring("head"):
        time.sleep(0)
    with stopwatch() as watch:
        pass
    assert (watch.seconds, watch.shares()) == ({}, "")


@pytest.mark.parametrize("protocol", ["cached", "s3prl"])
def test_a_record_says_where_the_time_went(protocol: str, data: Path, tmp_path: Path) -> None:  # noqa: F811
    command = ("evaluate", "--model", "mini-hubert", "--tasks", "ks", "--preset", "smoke", "--device", "cpu")
    done = bench(*command, "--protocol", protocol, "--data", str(data), "--out", str(tmp_path / "run"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "run" / "cells").glob("*/*.json")
    provenance = json.loads(path.read_text())["provenance"]
    parts = provenance["seconds_by_part"]
    assert parts.keys() == {"upstream", "head", "reading"}
    assert all(seconds > 0 for seconds in parts.values())
    assert sum(parts.values()) <= provenance["seconds"]
    assert "upstream" in done.stderr
