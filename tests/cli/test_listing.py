"""``bench list``: overviews that fit a screen."""

from __future__ import annotations

import json
import sys

import pytest

from bench.cli import main
from bench.cli.listing import LINE_WIDTH


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str, exit_code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["bench", "list", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == exit_code
        captured = capsys.readouterr()
        return captured.err if exit_code else captured.out

    return run


def test_without_a_kind_everything_is_named(listed) -> None:
    overview = listed()
    for name in ("dphubert", "asr", "HUBERT_BASE", "random:hubert_base", "presets"):
        assert name in overview
    assert max(map(len, overview.splitlines())) <= LINE_WIDTH
    assert set(json.loads(listed("--json"))) == {"compressors", "tasks", "teachers"}


def test_presets_are_an_overview(listed) -> None:
    lines = listed("presets").splitlines()
    assert len(lines) < 40
    assert max(map(len, lines)) <= LINE_WIDTH
    (line,) = [line for line in lines if "dphubert " in line and "smoke" in line]
    assert "paper" in line


@pytest.mark.parametrize("name", ["dphubert", "KS"])
def test_settings_of_one_plug_in(name: str, listed) -> None:
    text = listed("presets", name)
    assert max(map(len, text.splitlines())) <= LINE_WIDTH
    rows = json.loads(listed("presets", name, "--json"))
    assert {row["plug-in"] for row in rows} == {name.lower()}
    for row in rows:
        assert f"\n{row['key']} = " in text
        assert row["value"][:60] in text
    assert f"{'tasks.' if name == 'KS' else ''}{name.lower()}.KEY" in text


def test_unknown_names_are_refused(listed) -> None:
    assert "dphubert" in listed("presets", "dphuber", exit_code=2)
    assert "'ks'" in listed("tasks", "ks", exit_code=2)
