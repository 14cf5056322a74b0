"""`bench compress`: what it makes, what it recognises, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench.upstream.checkpoint import save_upstream
from tests.helpers.command_line import bench, error_of
from tests.helpers.method_checks import tiny_teacher


@pytest.fixture
def data_file(tmp_path: Path, speech_folder: Path) -> Path:
    path = tmp_path / "data.yaml"
    path.write_text(f"audio: {{layout: folder, root: {speech_folder}}}\n")
    return path


def arguments(data_file: Path, *more: str) -> list[str]:
    return ["compress", "--compressor", "dphubert", "--preset", "smoke", "--data", str(data_file), *more]


def test_a_model_is_made_once_and_recognised(data_file: Path, tmp_path: Path) -> None:
    first = bench(*arguments(data_file, "--out", "model", "--json"), cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    weights = tmp_path / "model" / "model.safetensors"
    written = weights.stat().st_mtime_ns
    again = bench(*arguments(data_file, "--out", "model", "--json"), cwd=tmp_path)
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert weights.stat().st_mtime_ns == written
    provenance = json.loads((tmp_path / "model" / "config.json").read_text())["provenance"]
    assert provenance["seconds"] > 0 < provenance["cpu_seconds"]
    assert (provenance["processes"], provenance["killed_processes"]) == (1, 0)
    assert json.loads(first.stdout)[0]["sparsity"] == pytest.approx(0.75, abs=0.01)
    for change in ("sparsity=0.5", "data.audio.resample=true"):
        message = error_of(*arguments(data_file, "--out", "model", "--set", change), cwd=tmp_path)
        assert "Choose another --out" in message


def test_a_refused_sparsity_does_not_stand_in_the_way_of_another(data_file: Path, tmp_path: Path) -> None:
    message = error_of(*arguments(data_file, "--out", "model", "--set", "sparsity=0.999"), cwd=tmp_path)
    assert "at most" in message
    assert bench(*arguments(data_file, "--out", "model"), cwd=tmp_path).returncode == 0


def test_a_folder_of_other_things_is_never_touched(data_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("mine")
    (tmp_path / ".mine.work").mkdir()
    assert "is no model" in error_of(*arguments(data_file, "--out", "mine"), cwd=tmp_path)
    assert (tmp_path / "mine" / "precious.txt").read_text() == "mine"


def test_two_rows_of_one_name_are_refused(data_file: Path, tmp_path: Path) -> None:
    assert bench("convert", "random:mini-hubert", "dphubert", cwd=tmp_path).returncode == 0
    options = ["--teacher", "dphubert", "--compressor", "dphubert", "--tasks", "ks", "--data", str(data_file)]
    with data_file.open("a") as file:
        file.write("tasks: {ks: {layout: speech_commands, root: x, test_root: y}}\n")
    assert "would be called 'dphubert'" in error_of("run", *options, cwd=tmp_path)


@pytest.mark.parametrize(
    ("compressor", "stage"), [("dphubert", "final"), ("distill-only", "distillation"), ("prune-only", "recovery-1")]
)
def test_a_loss_that_is_not_finite_ends_with_1_and_keeps_the_last_checkpoint(
    data_file: Path, tmp_path: Path, compressor: str, stage: str
) -> None:
    """A step of 1e30 leaves no loss finite."""
    save_upstream(tiny_teacher(), tmp_path / "teacher", {})
    own = ["--compressor", compressor, "--teacher", "teacher", "--out", "model", "--set", "checkpoint_updates=1"]
    recipe = {"updates": 6, "warmup_updates": 2, "learning_rate": 1e30}
    wrong = f"{stage.removesuffix('-1')}={json.dumps(recipe)}"
    ended = bench(*arguments(data_file, *own, "--set", "sparsity=0.5", "--set", wrong), cwd=tmp_path)
    assert ended.returncode == 1, ended.stderr
    last_line = ended.stderr.strip().splitlines()[-1]
    assert last_line.startswith("error: Expected finite numbers. Found loss")
    assert f"in stage {stage}, at update" in last_line
    assert "first in batch" in last_line
    assert ".wav" in last_line
    assert not (tmp_path / "model").exists()
    kept = torch.load(tmp_path / ".model.work" / f"{stage}.ckpt", weights_only=True)
    assert kept["global_step"] >= 1
    assert all(value.isfinite().all() for value in kept["state_dict"].values())
