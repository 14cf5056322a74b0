"""The option ``--executor``, and single items in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.config.run import RunConfig
from bench.files.yaml import dump_yaml
from bench.runs.executors.choice import read_executor
from bench.runs.executors.inline import Inline
from bench.runs.run import Run
from tests.helpers.command_line import bench, error_of
from tests.helpers.tiny_runs import config_of, write_data, write_teacher


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """One compression, a stack on its result, and three cells."""
    folder = tmp_path_factory.mktemp("given")
    teacher = str(write_teacher(folder / "teacher"))
    settings = ("importance=l2", "recovery=null", "sparsity=0.2")
    return config_of(write_data(folder / "data"), *settings, teacher=teacher, compressors="prune-only,prune-only+int8")


@pytest.fixture
def begun(config: RunConfig, tmp_path: Path) -> Path:
    """A run that is checked, but of which nothing is done."""
    Run(config, tmp_path / "run", "cpu").begin()
    return tmp_path / "run"


def states(folder: Path) -> dict[str, str]:
    return {row["subject"]: row["state"] for row in json.loads(bench("status", str(folder), "--json").stdout)}


def test_an_executor_is_chosen_in_any_case() -> None:
    assert isinstance(read_executor("Inline"), Inline)


@pytest.mark.parametrize(
    "text",
    [
        *("", "inlin", "inline:2", "slurm:", "x" * 5000, "processes", "processes:", "processes:0", "processes:-1"),
        *(
            "processes:00001999",
            "processes:x",
            "processes:1.5",
            "processes:²",
            "processes:2:2",
            "processes:" + "9" * 5000,
        ),
    ],
)
@pytest.mark.parametrize("verb", ["run", "sweep", "evaluate"])
def test_other_executors_are_refused(verb: str, text: str) -> None:
    subject = {
        "run": [],
        "sweep": ["--compressor", "prune-only", "--sparsity", "0.5"],
        "evaluate": ["--model", "fbank"],
    }
    line = error_of(verb, *subject[verb], "--tasks", "ks", "--preset", "smoke", "--executor", text)
    assert "--executor" in line
    assert len(line) <= 400


def test_one_item_is_done_from_the_stored_configuration(begun: Path) -> None:
    assert bench("run-item", str(begun), "compress prune-only", "--device", "cpu").returncode == 0
    assert states(begun) == {
        "prune-only": "done",
        "prune-only+int8": "ready",
        "teacher ks seed 0": "ready",
        "prune-only ks seed 0": "ready",
        "prune-only+int8 ks seed 0": "blocked",
    }


def test_items_one_by_one_give_what_the_run_gives(config: RunConfig, begun: Path, tmp_path: Path) -> None:
    job = Run(config, begun, "cpu").begin()
    for item in job.work.items():
        command = job.command(item)
        assert bench(*command[command.index("run-item") :]).returncode == 0
    assert set(states(begun).values()) == {"done"}
    inline = Run(config, tmp_path / "inline", "cpu").execute().leaderboard
    assert Run(config, begun, "cpu").execute().leaderboard.equals(inline)
    text = (begun / "config.yaml").read_text()
    assert text == (tmp_path / "inline" / "config.yaml").read_text()


def test_the_command_of_an_item_works_from_any_folder(config: RunConfig, begun: Path, tmp_path: Path) -> None:
    job = Run(config, begun, "cpu", cache_limit_bytes=10**9).begin()
    (item,) = [item for item in job.work.items() if item.label == "teacher ks seed 0"]
    if sys.version_info >= (3, 11):
        (tmp_path / "bench.py").write_text("raise SystemExit('a file of the user')\n")
        (tmp_path / "torch.py").write_text("raise SystemExit('a file of the user')\n")
    done = subprocess.run(job.command(item), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert states(begun)["teacher ks seed 0"] == "done"


def commands(tmp_path: Path, config: RunConfig, *options: str) -> str:
    """List the commands of a run that repeats a configuration."""
    (tmp_path / "config.yaml").write_text(dump_yaml(config.model_dump(mode="json")))
    given = ["--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "run"), "--executor", "commands"]
    result = bench("run", *given, *options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_commands_are_listed_after_those_that_they_need(config: RunConfig, tmp_path: Path) -> None:
    listed = json.loads(commands(tmp_path, config, "--json"))
    assert [(each["item"], each["after"]) for each in listed] == [
        ("compress prune-only", []),
        ("compress prune-only+int8", ["compress prune-only"]),
        ("teacher ks seed 0", []),
        ("prune-only ks seed 0", ["compress prune-only"]),
        ("prune-only+int8 ks seed 0", ["compress prune-only+int8"]),
    ]
    assert set(states(tmp_path / "run").values()) == {"ready", "blocked"}
    assert bench("run-item", str(tmp_path / "run"), "compress prune-only", "--device", "cpu").returncode == 0
    left = json.loads(commands(tmp_path, config, "--json"))
    assert [each["item"] for each in left if not each["after"]] == [
        *("compress prune-only+int8", "teacher ks seed 0", "prune-only ks seed 0")
    ]
    assert len(left) == 4
    Run(config, tmp_path / "run", "cpu").execute()
    assert commands(tmp_path, config) == ""
    assert json.loads(commands(tmp_path, config, "--json")) == []


@pytest.mark.slow
def test_a_shell_can_run_the_list(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path / "a cache"))
    script = commands(tmp_path, config, "--device", "cpu")
    monkeypatch.delenv("SUPERB_BENCH_CACHE")
    done = subprocess.run(["sh", "-e"], input=script, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(states(tmp_path / "run").values()) == {"done"}
    assert (tmp_path / "a cache" / "features").is_dir()


def test_commands_are_for_machines_that_may_have_a_gpu(config: RunConfig, tmp_path: Path) -> None:
    lines = commands(tmp_path, config, "--device", "cuda").splitlines()
    assert [line for line in lines if line.startswith("# ")] == lines[::2]
    assert all("--device cuda" in line for line in lines[1::2])


def test_an_item_whose_model_is_missing_is_not_begun(begun: Path) -> None:
    result = bench("run-item", str(begun), "prune-only ks seed 0", "--device", "cpu")
    assert result.returncode == 1
    assert "compress prune-only" in result.stderr
    assert states(begun)["prune-only ks seed 0"] == "blocked"


def test_a_failed_item_has_exit_code_1_and_is_tried_again(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr("bench.runs.worker.compress", fail)
        assert bench("run-item", str(begun), "compress prune-only", "--device", "cpu").returncode == 1
    assert states(begun)["prune-only"] == "failed"
    assert bench("run-item", str(begun), "compress prune-only", "--device", "cpu").returncode == 0
    assert states(begun)["prune-only"] == "done"


def test_unknown_items_are_refused_with_the_nearest(begun: Path, tmp_path: Path) -> None:
    assert "'compress prune-only'" in error_of("run-item", str(begun), "compress prune-onl", "--device", "cpu")
    assert "config.yaml" in error_of("run-item", str(tmp_path), "compress prune-only", "--device", "cpu")
