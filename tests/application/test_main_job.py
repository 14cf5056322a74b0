"""The main job on synthesised speech: from a teacher to a leaderboard, and killed in every part of it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import jiwer
import pandas as pd
import pytest
import yaml

from tests.helpers.command_line import BENCH, bench, error_of
from tests.helpers.interrupting import end_when, kill_when

pytestmark = pytest.mark.slow

TEACHER = "mini-hubert"


def arguments(embedded_data: Path, out: Path) -> list[str]:
    checkpoints = ["--set", "compressor.checkpoint_updates=1"]
    what = ["--compressor", "dphubert", "--tasks", "asr,ks", "--preset", "smoke"]
    return ["run", *what, "--data", str(embedded_data), "--out", str(out), "--device", "cpu", *checkpoints]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory, embedded_data: Path) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "uninterrupted"
    result = bench(*arguments(embedded_data, out))
    assert result.returncode == 0, result.stderr
    return out


def records(out: Path) -> dict[str, dict[str, object]]:
    return {
        str(path.relative_to(out)): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(out.glob("cells/*/*.json"))
    }


class TestFinishedRun:
    def test_leaderboard_has_teacher_and_student(self, finished_run: Path) -> None:
        table = pd.read_csv(finished_run / "leaderboard.csv").set_index("model")
        assert list(table.index) == [TEACHER, "dphubert"]
        assert list(table["compressor"]) == ["none", "dphubert"]
        assert table[["asr_wer", "asr_cer", "ks_accuracy"]].notna().all(axis=None)
        assert table.loc["dphubert", "target_sparsity"] == 0.75
        assert table.loc["dphubert", "sparsity"] == pytest.approx(0.75, abs=0.01)
        assert table.loc["dphubert", "params"] < 0.26 * table.loc[TEACHER, "params"]
        assert table.loc["dphubert", "macs"] < table.loc[TEACHER, "macs"]

    def test_predictions_bear_the_scores_out(self, finished_run: Path) -> None:
        for model in (TEACHER, "dphubert"):
            asr = pd.read_json(finished_run / "cells" / model / "asr-seed0.predictions.jsonl", lines=True, dtype=False)
            test = asr[asr["split"] == "test"]
            record = records(finished_run)[f"cells/{model}/asr-seed0.json"]
            assert record["scores"]["test"]["wer"] == pytest.approx(
                jiwer.wer(list(test["reference"]), list(test["prediction"]))
            )
            ks = pd.read_json(finished_run / "cells" / model / "ks-seed0.predictions.jsonl", lines=True, dtype=False)
            record = records(finished_run)[f"cells/{model}/ks-seed0.json"]
            accuracy = ks[ks["split"] == "test"]["correct"].mean()
            assert record["scores"]["test"]["accuracy"] == pytest.approx(accuracy)

    def test_the_model_is_there_with_its_history(self, finished_run: Path) -> None:
        model = finished_run / "models" / "dphubert"
        provenance = json.loads((model / "config.json").read_text())["provenance"]
        assert provenance["teacher"] == TEACHER
        assert provenance["recipe"]["sparsity"] == 0.75
        history = pd.read_csv(model / "training.csv")
        assert set(history["stage"]) == {"joint", "final"}
        assert (model / "distillation_projections.safetensors").is_file()

    def test_the_configuration_is_kept_whole(self, finished_run: Path) -> None:
        config = yaml.safe_load((finished_run / "config.yaml").read_text())
        assert config["teacher"] == TEACHER
        assert config["models"]["dphubert"]["settings"]["joint"]["updates"] > 0
        assert config["tasks"]["ks"]

    def test_run_again_it_repeats_nothing(self, finished_run: Path, embedded_data: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in finished_run.glob("cells/*/*")}
        result = bench(*arguments(embedded_data, finished_run), "--json")
        assert result.returncode == 0, result.stderr
        assert before == {path: path.stat().st_mtime_ns for path in finished_run.glob("cells/*/*")}
        assert [row["model"] for row in json.loads(result.stdout)] == [TEACHER, "dphubert"]

    def test_another_configuration_is_refused(self, finished_run: Path, embedded_data: Path) -> None:
        message = error_of(*arguments(embedded_data, finished_run), "--set", "sparsity=0.5")
        assert "models.dphubert.settings.sparsity: 0.75 there, 0.5 here" in message
        assert "Choose another --out" in message

    def test_dry_run_tells_what_is_done(self, finished_run: Path, embedded_data: Path) -> None:
        result = bench(*arguments(embedded_data, finished_run), "--dry-run", "--json", "--seeds", "0,1")
        states = [step["state"] for step in json.loads(result.stdout)]
        assert states == ["done", *["done", "to do"] * 4]


# What shows that a run is in the middle of each part.
PARTS = {
    "stage 1": "work/compress/dphubert/joint.ckpt",
    "stage 2": "work/compress/dphubert/final.ckpt",
    "ASR training": "work/cells/dphubert/asr-seed0/**/step_*/manifest.json",
    "KS training": "work/cells/dphubert/ks-seed0/**/step_*/manifest.json",
}


def test_killed_in_every_part_it_ends_the_same(finished_run: Path, embedded_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    finished: dict[Path, int] = {}
    for part, pattern in PARTS.items():
        kill_when(arguments(embedded_data, out), lambda pattern=pattern: any(out.glob(pattern)), part)
        assert {path: path.stat().st_mtime_ns for path in finished} == finished
        finished = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*.json")}
    result = bench(*arguments(embedded_data, out))
    assert result.returncode == 0, result.stderr
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    weights = "models/dphubert/model.safetensors"
    assert (out / weights).read_bytes() == (finished_run / weights).read_bytes()
    scores = {name: record["scores"] for name, record in records(out).items()}
    assert scores == {name: record["scores"] for name, record in records(finished_run).items()}


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)], ids=str)
def test_an_interrupt_says_how_to_go_on(how: signal.Signals, embedded_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "interrupted"
    # So long that no machine gets to its end before the interrupt.
    command = [*arguments(embedded_data, out), "--set", "joint.updates=100000"]
    process = end_when(command, (out / PARTS["stage 1"]).exists, "stage 1", how)
    assert process.returncode == 130
    assert process.stderr.splitlines()[-1] == "interrupted: run the same command again to go on where it stopped"
    assert "Traceback" not in process.stderr


def test_two_processes_share_a_run(finished_run: Path, embedded_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    command = [*BENCH, *arguments(embedded_data, out)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert sum(line.startswith("evaluate") and "done in" in line for text in told for line in text.splitlines()) == 4
    scores = {name: record["scores"] for name, record in records(out).items()}
    assert scores == {name: record["scores"] for name, record in records(finished_run).items()}
