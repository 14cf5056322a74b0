"""``bench run --config``: a run's own config.yaml repeats it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cli import main
from bench.cli.choices import resolved_run
from bench.config.run import RunConfig
from bench.runs.run import Run


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The config.yaml of a run."""
    config = resolved_run(
        compressors="dphubert,small=low-rank+int8",
        teacher="random:mini-hubert",
        models="fbank",
        tasks="ks,asr",
        data="mini",
        preset="smoke",
        protocol="cached",
        seeds="0,1",
        assignments=["dphubert.sparsity=0.5", "tasks.ks.learning_rate=0.01"],
    )
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    return path


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run ``bench run`` up to where work would begin; return the configuration and the folder."""

    def begin(*arguments: str) -> tuple[RunConfig, Path]:
        begun: list[tuple[RunConfig, Path]] = []

        def execute(self: Run, split: str = "test") -> None:
            begun.append((self.config, self.folder.path))
            raise KeyboardInterrupt

        monkeypatch.setattr(Run, "execute", execute)
        monkeypatch.setattr(sys, "argv", ["bench", "run", *arguments, "--device", "cpu"])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit):
            main()
        return begun[0]

    return begin


def values(config: RunConfig) -> Any:
    return json.loads(config.model_dump_json())


def test_a_run_is_repeated(stored: Path, resolved: Any) -> None:
    config, folder = resolved("--config", str(stored))
    assert values(config) == yaml.safe_load(stored.read_text(encoding="utf-8"))
    assert folder != stored.parent
    assert resolved("--config", str(stored))[1] == folder
    assert resolved("--config", str(stored), "--out", "mine")[1] == Path("mine")


def test_devices_are_recorded_and_not_repeated(stored: Path, resolved: Any) -> None:
    alone, folder = resolved("--config", str(stored))
    together, same_folder = resolved("--config", str(stored), "--devices", "2")
    assert (alone.devices, together.devices) == (1, 2)
    assert same_folder == folder
    stored.write_text(yaml.safe_dump(together.model_dump(mode="json")), encoding="utf-8")
    assert values(resolved("--config", str(stored))[0]) == values(alone)


def test_options_go_before_the_file(stored: Path, resolved: Any) -> None:
    before = yaml.safe_load(stored.read_text(encoding="utf-8"))
    config, _ = resolved("--config", str(stored), "--seeds", "3", "--tasks", "ks", "--set", "dphubert.sparsity=0.25")
    after = values(config)
    assert after["seeds"] == [3]
    assert after["tasks"] == {"ks": before["tasks"]["ks"]}
    assert after["models"]["dphubert"]["settings"] == {**before["models"]["dphubert"]["settings"], "sparsity": 0.25}
    assert after["models"]["small"] == before["models"]["small"]


@pytest.mark.parametrize("row", ["../outside", "a/b", "", ".hidden"])
def test_names_of_rows_cannot_lead_out_of_the_folder(
    row: str, stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(stored.read_text(encoding="utf-8"))
    content["models"][row] = {"compressor": "int8"}
    stored.write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["bench", "run", "--config", str(stored), "--dry-run"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert str(stored) in capsys.readouterr().err


def test_a_sweep_of_stacks_is_repeated(stored: Path, resolved: Any) -> None:
    config = resolved_run(
        compressors="dphubert+int8",
        teacher="random:mini-hubert",
        tasks="ks",
        sparsities="0.5",
        training_budget="preset",
    )
    stored.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    repeated, _ = resolved("--config", str(stored))
    assert list(repeated.models) == ["random-mini-hubert", "dphubert+int8-0.5"]


def test_another_preset_brings_its_own_settings(stored: Path, resolved: Any) -> None:
    config, _ = resolved("--config", str(stored), "--preset", "mini")
    assert values(config)["models"]["dphubert"]["settings"]["sparsity"] == 0.75
    assert config.seeds == (0, 1)


def test_all_tasks_are_those_of_its_data(stored: Path, resolved: Any) -> None:
    config, _ = resolved("--config", str(stored), "--tasks", "all")
    assert set(config.tasks) == {"asr", "asv", "er", "ic", "ks", "pr", "qbe", "sd", "sf", "sid"}
    assert config.tasks["ks"]["learning_rate"] == 0.01


@pytest.mark.parametrize("content", ["a: 1", "[", "", "teacher: {}\ndata: 1\npreset: x\nmodels: 1\ntasks: 2\nseeds: 3"])
def test_other_files_are_refused(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(content, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["bench", "run", "--config", str(path)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "other.yaml" in line
    assert len(line) <= 400


def test_without_tasks_and_file_both_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "run"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "--tasks" in said
    assert "--config" in said


def test_a_plan_for_a_gpu_needs_none(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "--config", str(stored), "--dry-run", "--device", "cuda", "--json"]
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert json.loads(capsys.readouterr().out)
