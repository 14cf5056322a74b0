"""``bench profile --teacher`` shows shares of the teacher without timing anything."""

from __future__ import annotations

import json
import sys

import pytest

from bench.cli import main


def test_shares_need_no_latency(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["profile", "random:mini-hubert", "fbank", "--teacher", "mini-hubert", "--json"]
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    same, fbank = json.loads(capsys.readouterr().out)
    assert same["of_teacher"]["params"] == same["of_teacher"]["macs"] == 1
    assert fbank["of_teacher"]["params"] == 0
    assert 0 < fbank["of_teacher"]["macs"] < 1
    assert fbank["of_teacher"]["teacher"] == "mini-hubert"
    assert "latency" not in same
