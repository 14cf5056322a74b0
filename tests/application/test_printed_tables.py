"""Tables on the screen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.cli.output import model_rows, signed_percent
from bench.leaderboard.failed_cells import failed_tasks
from bench.store.run_folder import RunFolder
from bench.terminal.printing import print_rows


def test_figures_are_aligned_by_their_last_digit(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"model": "one", "MACs": "1,665.52", "gain": "+6.10"}, {"model": "three", "MACs": "0.48", "gain": ""}])
    lines = [line for line in capsys.readouterr().out.splitlines() if "one" in line or "three" in line]
    assert [line.split("│")[1] for line in lines] == [" one   ", " three "]
    assert [line.split("│")[2] for line in lines] == [" 1,665.52 ", "     0.48 "]


@pytest.mark.parametrize(("fraction", "text"), [(0.0609, "+6.09"), (-0.05, "-5.00"), (-1e-9, "+0.00"), (-0.0, "+0.00")])
def test_a_difference_that_rounds_to_zero_has_no_minus(fraction: float, text: str) -> None:
    assert signed_percent(fraction) == text


def test_compressed_models_have_the_leaderboards_units() -> None:
    model = {"model": "small", "params": 982_497, "sparsity": 0.6, "macs": 27_682_209_128}
    assert model_rows([model]) == [{"model": "small", "params (M)": "0.98", "MACs (G)": "27.7", "sparsity (%)": "60.0"}]


class TestFailedCells:
    def test_are_those_of_notes_without_a_record(self, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path)
        for what in ("a/ks-seed0", "a/asr-seed1", "compress b-seed0", "load c-seed1"):
            note = folder.failure_path(what)
            assert " " not in note.name
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text("why")
        record = tmp_path / "cells" / "a" / "ks-seed0.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({}))
        models = {"a": {"reference": "fbank"}, **{row: {"compressor": "dphubert"} for row in ("b", "c")}}
        config = {"tasks": {"ks": {}, "asr": {}}, "training_budget": "updates", "seeds": [0, 1], "models": models}
        found = failed_tasks(folder, config)
        assert found == {"a": ("asr",), "b": ("asr", "ks"), "c": ("asr", "ks")}
