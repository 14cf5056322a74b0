"""A third party's package, installed with pip: its compressor is there, with no edit here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.command_line import BENCH

PACKAGE = Path(__file__).parent.parent / "plugin_package"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as its author has it, away from this repository."""
    source = tmp_path_factory.mktemp("source") / "package"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    return source


@pytest.fixture(scope="module")
def environment(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package is installed."""
    site = tmp_path_factory.mktemp("site")
    install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
        str(source),
    ]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    return {**os.environ, "PYTHONPATH": str(site)}


def bench(environment: dict[str, str], *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BENCH, *arguments], capture_output=True, text=True, check=False, env=environment, cwd=cwd)


def test_its_compressor_is_listed(environment: dict[str, str], tmp_path: Path) -> None:
    rows = json.loads(bench(environment, "list", "compressors", "--json", cwd=tmp_path).stdout)
    assert {row["compressor"] for row in rows} >= {"dphubert", "halving"}


def test_its_settings_are_checked_like_ours(environment: dict[str, str], tmp_path: Path) -> None:
    arguments = ["compress", "--compressor", "halving", "--out", "model", "--set", "keep_evry=3"]
    result = bench(environment, *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "Did you mean 'keep_every'?" in result.stderr


def test_it_makes_a_model_that_every_command_takes(
    environment: dict[str, str], tmp_path: Path, speech_folder: Path
) -> None:
    data = tmp_path / "data.yaml"
    data.write_text(f"audio: {{layout: folder, root: {speech_folder}}}\n")
    arguments = ["compress", "--compressor", "halving", "--out", "model", "--data", "data.yaml", "--json"]
    result = bench(environment, *arguments, "--preset", "smoke", "--set", "keep_every=3", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["provenance"]["compressor"] == "halving"
    assert config["provenance"]["recipe"]["keep_every"] == 3
    audio = next(speech_folder.glob("*.wav"))
    result = bench(environment, "features", "model", str(audio), "--out", "states.npz", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    import numpy as np

    states = np.load(tmp_path / "states.npz")
    assert sorted(states.files) == [f"{audio.stem}/{k}" for k in range(5)]


def test_its_upstream_is_profiled_and_evaluated(
    environment: dict[str, str], tmp_path: Path, embedded_data: Path
) -> None:
    result = bench(environment, "profile", "strided", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (profiled,) = json.loads(result.stdout)
    assert (profiled["params"], profiled["macs_superb"]) == (13_888, None)
    arguments = ["--model", "strided", "--tasks", "ks", "--data", str(embedded_data), "--preset", "smoke", "--json"]
    result = bench(environment, "evaluate", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(result.stdout)
    assert (row["model"], row["params"], row["macs"]) == ("strided", 13_888, profiled["macs"])


def test_its_task_is_evaluated_like_ours(environment: dict[str, str], tmp_path: Path, speech_folder: Path) -> None:
    splits = ("train", "train", "dev", "dev", "test", "test")
    rows = [
        f"{path},{split},{accent}"
        for path, split, accent in zip(sorted(speech_folder.glob("*.wav")), splits, ("north", "south") * 3, strict=True)
    ]
    (tmp_path / "accents.csv").write_text("\n".join(["path,split,accent", *rows]))
    (tmp_path / "data.yaml").write_text("tasks: {accent: {table: accents.csv}}\n")
    arguments = ["evaluate", "--model", "fbank", "--tasks", "accent", "--data", "data.yaml", "--preset", "smoke"]
    result = bench(environment, *arguments, "--out", "run", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "run" / "cells" / "fbank" / "accent-seed0.json").read_text())
    assert set(record["scores"]) == {"dev", "test"}
    assert 0 <= record["scores"]["test"]["accuracy"] <= 1


@pytest.mark.slow
def test_it_passes_the_conformance_test(environment: dict[str, str], source: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=source)
    assert result.returncode == 0, result.stdout
