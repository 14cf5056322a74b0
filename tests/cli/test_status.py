"""``bench status``: the work list of a run's folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.config.run import RunConfig
from bench.files.yaml import read_yaml
from bench.runs.run import Run
from bench.store.holders import claimed_by_name
from bench.store.records import Cell
from bench.store.run_folder import RunFolder
from bench.store.submissions import Submissions
from tests.helpers.tiny_runs import config_of, write_data, write_teacher


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    teacher = str(write_teacher(tmp_path / "teacher"))
    settings = ("importance=l2", "recovery=null", "sparsity=0.2")
    compressors = "prune-only,prune-only+int8"
    return config_of(write_data(tmp_path / "data"), *settings, teacher=teacher, compressors=compressors)


@pytest.fixture
def begun(config: RunConfig, tmp_path: Path) -> RunFolder:
    """A run of which nothing is done."""
    folder = RunFolder(tmp_path / "run")
    folder.write_config(config.model_dump(mode="json"))
    return folder


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str, exit_code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["bench", "status", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == exit_code
        captured = capsys.readouterr()
        return captured.err if exit_code else captured.out

    return run


def states(text: str) -> dict[str, str]:
    return {f"{row['step']} {row['subject']}": row["state"] for row in json.loads(text)}


def test_what_is_to_do(begun: RunFolder, status: Any) -> None:
    assert states(status(str(begun.path), "--json")) == {
        "compress prune-only": "ready",
        "compress prune-only+int8": "blocked",
        "evaluate teacher ks seed 0": "ready",
        "evaluate prune-only ks seed 0": "blocked",
        "evaluate prune-only+int8 ks seed 0": "blocked",
    }
    assert "2 ready, 3 blocked" in status(str(begun.path))


def test_who_works_on_what_and_how_far(begun: RunFolder, status: Any) -> None:
    with claimed_by_name(begun.lock_path("compress prune-only")) as claim:
        assert claim
        claim.note("stage recovery: 3 of 8 updates, 2 min left")
        row = json.loads(status(str(begun.path), "--json"))[0]
        assert row["state"] == "running"
        assert row["pid"] == os.getpid()
        assert row["host"]
        assert row["since"]
        shown = status(str(begun.path))
        assert f"process {os.getpid()}" in shown
        assert "3 of 8 updates" in shown
    assert states(status(str(begun.path), "--json"))["compress prune-only"] == "ready"


def test_what_failed_and_why(config: RunConfig, begun: RunFolder, status: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("no\nluck")

    monkeypatch.setattr("bench.runs.worker.compress", fail)
    Run(config, begun.path, "cpu").execute()
    rows = {row["subject"]: row for row in json.loads(status(str(begun.path), "--json"))}
    assert rows["prune-only"]["reason"] == "RuntimeError: no luck"
    assert rows["prune-only+int8"]["state"] == "failed"
    assert "prune-only" in rows["prune-only+int8"]["reason"]
    assert rows["teacher ks seed 0"]["state"] == "done"
    assert rows["prune-only ks seed 0"]["state"] == "blocked"
    assert "no luck" in status(str(begun.path))
    monkeypatch.undo()
    Run(config, begun.path, "cpu").execute()


def test_only_what_was_asked_for_is_listed(tmp_path: Path, status: Any) -> None:
    data, teacher = write_data(tmp_path / "data"), str(write_teacher(tmp_path / "teacher"))
    sweep = {"teacher": teacher, "training_budget": "preset", "sparsities": "0.2"}
    settings = ("importance=l2", "recovery=null")
    first = config_of(data, *settings, compressors="prune-only", seeds="0,1", **sweep)
    Run(first, tmp_path / "run", "cpu").begin()
    for _ in range(2):
        further = config_of(data, *settings, compressors="few=prune-only", seeds="2", **sweep)
        Run(further, tmp_path / "run", "cpu").begin()
    calls = read_yaml(tmp_path / "run" / "config.yaml")["calls"]
    assert [call["seeds"] for call in calls] == [[0, 1], [2]]
    shown = states(status(str(tmp_path / "run"), "--json"))
    assert sorted(shown) == [
        *("compress few-0.2-seed2", "compress prune-only-0.2-seed0", "compress prune-only-0.2-seed1"),
        "evaluate few-0.2 ks seed 2",
        *(f"evaluate {row} ks seed {seed}" for row in ("prune-only-0.2",) for seed in (0, 1)),
        *(f"evaluate teacher ks seed {seed}" for seed in (0, 1, 2)),
    ]


def test_a_wider_call_takes_the_place_of_those_it_covers(tmp_path: Path, config: RunConfig) -> None:
    narrow = config.model_copy(update={"models": dict(list(config.models.items())[:1])})
    for each in (narrow, config, narrow):
        Run(each, tmp_path / "run", "cpu").begin()
    stored = read_yaml(tmp_path / "run" / "config.yaml")
    assert list(stored["models"]) == list(config.models)
    assert "calls" not in stored


def test_a_folder_of_an_earlier_version_keeps_all_its_items(begun: RunFolder, config: RunConfig, status: Any) -> None:
    before = states(status(str(begun.path), "--json"))
    Run(config.model_copy(update={"seeds": (1,)}), begun.path, "cpu").begin()
    after = states(status(str(begun.path), "--json"))
    assert before.items() <= after.items()
    assert {label for label in after if label not in before} == {
        f"evaluate {row} ks seed 1" for row in ("teacher", "prune-only", "prune-only+int8")
    }


@pytest.mark.parametrize("calls", ["3", "[3]", "[{models: [a], tasks: 1, seeds: []}]", "[{}]"])
def test_damaged_calls_are_refused(calls: str, begun: RunFolder, status: Any) -> None:
    begun.config_path.write_text(f"{begun.config_path.read_text()}calls: {calls}\n")
    assert "config.yaml" in status(str(begun.path), exit_code=2)


def test_models_that_are_elsewhere_are_not_to_do(config: RunConfig, begun: RunFolder, status: Any) -> None:
    Run(config, begun.path, "cpu").execute()
    shutil.rmtree(begun.path / "models")
    assert set(states(status(str(begun.path), "--json")).values()) == {"done"}
    begun.records.path(Cell(model="prune-only", task="ks", seed=0)).unlink()
    rows = {row["subject"]: row for row in json.loads(status(str(begun.path), "--json"))}
    assert rows["prune-only"]["state"] == "ready"
    assert rows["prune-only ks seed 0"]["state"] == "blocked"
    assert rows["prune-only+int8"]["state"] == "done"


SQUEUE = """#!/bin/sh
echo "12_0|{name}|RUNNING|None"
echo "12_1|{name}|PENDING|Resources"
"""


def test_slurm_jobs_and_their_logs(
    begun: RunFolder, status: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submissions = Submissions(begun.path)
    labels = ["compress prune-only", "teacher ks seed 0", "prune-only ks seed 0"]
    array = submissions.begin(labels)
    submissions.keep(array.model_copy(update={"job_id": "12"}))
    (submissions.folder / "bench-damaged.json").write_text("{")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sbatch", "squeue"):
        (programs / name).write_text(SQUEUE.format(name=array.name))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    jobs = {row["subject"]: row.get("job") for row in json.loads(status(str(begun.path), "--json"))}
    assert jobs["prune-only"] == {
        "id": "12_0",
        "state": "RUNNING",
        "reason": "",
        "log": str(submissions.logs_folder / "12_0_0_log.out"),
    }
    assert (jobs["teacher ks seed 0"]["state"], jobs["teacher ks seed 0"]["reason"]) == ("PENDING", "Resources")
    assert jobs["prune-only ks seed 0"]["state"] == "forgotten by Slurm"
    assert jobs["prune-only+int8 ks seed 0"] is None
    shown = status(str(begun.path))
    assert "12_1 PENDING" in shown
    assert "12_0_0_log.out" in "".join(shown.split())
    # Without Slurm's programs, or without an answer, the numbers are still shown.
    (programs / "squeue").write_text("#!/bin/sh\nexit 1\n")
    assert {row["job"]["state"] for row in json.loads(status(str(begun.path), "--json")) if "job" in row} == {""}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {row["job"]["state"] for row in json.loads(status(str(begun.path), "--json")) if "job" in row} == {""}


def test_writes_nothing(begun: RunFolder, status: Any) -> None:
    before = sorted(begun.path.rglob("*"))
    status(str(begun.path))
    assert sorted(begun.path.rglob("*")) == before


@pytest.mark.parametrize(
    "content", [None, "a: 1", "[", "teacher: {}\ndata: 1\npreset: x\nmodels: 1\ntasks: 2\nseeds: 3"]
)
def test_other_folders_are_refused(content: str | None, tmp_path: Path, status: Any) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    if content is not None:
        (folder / "config.yaml").write_text(content)
    (line,) = status(str(folder), exit_code=2).splitlines()
    assert "config.yaml" in line
    assert len(line) <= 400


@pytest.mark.parametrize("run", ["sweep", "sizes"])
def test_published_runs_are_complete(run: str, status: Any) -> None:
    folder = Path(__file__).parents[2] / "results" / run
    assert set(states(status(str(folder), "--json")).values()) == {"done"}
