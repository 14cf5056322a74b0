"""The program as users call it: start-up, exit codes, one-line errors."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench.cli.app import application
from tests.helpers.command_line import bench, bench_process, error_of


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bench.cli.app import application; application()\n"
        "heavy = {'torch', 'pandas', 'numpy', 's3prl', 'lightning'} & set(sys.modules); print(sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_help_is_quick_and_names_the_main_job() -> None:
    started = time.monotonic()
    result = bench_process("--help")
    assert result.returncode == 0
    assert "bench run --compressor dphubert --tasks asr,ks" in result.stdout
    # Generous: the property that matters is the test above; this catches a stray import of seconds.
    assert time.monotonic() - started < 5


def test_whoever_calls_the_application_keeps_its_own_logging() -> None:
    before = {name: [*logging.getLogger(name).handlers] for name in ("", "bench", "compressors", "tasks", "lightning")}
    application()(["list", "tasks"], standalone_mode=False)
    assert {name: logging.getLogger(name).handlers for name in before} == before


def test_every_verb_can_show_tracebacks() -> None:
    def verbs(command: Any, *names: str) -> Iterator[list[str]]:
        below = getattr(command, "commands", {})
        for name, verb in below.items():
            yield from verbs(verb, *names, name)
        if not below:
            yield [*names]

    app = application()
    found = list(verbs(typer.main.get_command(app)))
    assert ["data", "check"] in found
    for names in found:
        assert "--debug" in CliRunner().invoke(app, [*names, "--help"]).output, names


def test_the_teachers_row_may_be_named_among_compressors(tmp_path: Path) -> None:
    result = bench("run", "--compressor", "none,dphubert", "--tasks", "all", "--dry-run", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    subjects = [step["subject"] for step in json.loads(result.stdout)]
    assert subjects[0] == "dphubert"
    tasks = ["asr", "asv", "er", "ic", "ks", "pr", "qbe", "sd", "sf", "sid"]
    assert sorted(subjects[1:]) == [f"{row} {task} seed 0" for row in ("dphubert", "mini-hubert") for task in tasks]


class TestWrongUse:
    def test_unknown_option(self) -> None:
        assert "--compresor" in error_of("run", "--compresor", "dphubert", "--tasks", "ks")

    def test_missing_option(self) -> None:
        assert "--tasks" in error_of("run", "--compressor", "dphubert")

    def test_unknown_compressor(self, tmp_path: Path) -> None:
        assert "Did you mean 'dphubert'?" in error_of("run", "--compressor", "dphuber", "--tasks", "ks", cwd=tmp_path)

    def test_unknown_task(self, tmp_path: Path) -> None:
        assert "Unknown task 'asrr'. Did you mean 'asr'?" in error_of("run", "--tasks", "asrr", cwd=tmp_path)

    def test_unknown_preset(self, tmp_path: Path) -> None:
        message = error_of("run", "--tasks", "ks", "--preset", "smok", cwd=tmp_path)
        assert "Did you mean 'smoke'?" in message

    @pytest.mark.parametrize("key", ["sparsty", "compressor.sparsty"])
    def test_unknown_key(self, key: str, tmp_path: Path) -> None:
        message = error_of("run", "--compressor", "dphubert", "--tasks", "ks", "--set", f"{key}=0.5", cwd=tmp_path)
        assert "Did you mean 'sparsity'?" in message

    def test_unknown_data(self, tmp_path: Path) -> None:
        assert "no such file" in error_of("run", "--tasks", "ks", "--data", "absent.yaml", cwd=tmp_path)

    def test_unknown_teacher(self, tmp_path: Path) -> None:
        message = error_of("run", "--tasks", "ks", "--teacher", "random:hubert_bse", cwd=tmp_path)
        assert "hubert_base" in message

    def test_sparsity_out_of_range(self, tmp_path: Path) -> None:
        message = error_of("run", "--compressor", "dphubert", "--tasks", "ks", "--set", "sparsity=1.5", cwd=tmp_path)
        assert "sparsity" in message
        assert "1.5" in message

    def test_absent_cuda(self, tmp_path: Path) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a CUDA device")
        message = error_of("run", "--tasks", "ks", "--device", "cuda", cwd=tmp_path)
        assert "--device cpu" in message

    def test_a_folder_that_is_no_run(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        message = error_of("run", "--tasks", "ks", "--out", str(tmp_path), cwd=tmp_path)
        assert "Choose another --out" in message

    def test_nothing_is_written_on_wrong_use(self, tmp_path: Path) -> None:
        error_of("run", "--compressor", "dphubert", "--tasks", "ks", "--set", "sparsity=2", cwd=tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestListing:
    def test_compressors(self) -> None:
        rows = json.loads(bench("list", "compressors", "--json").stdout)
        assert "dphubert" in [row["compressor"] for row in rows]
        assert any("2305.17651" in row["summary"] for row in rows)

    def test_tasks(self) -> None:
        rows = json.loads(bench("list", "tasks", "--json").stdout)
        assert {"asr", "ks"} <= {row["task"] for row in rows}

    def test_teachers(self) -> None:
        rows = json.loads(bench("list", "teachers", "--json").stdout)
        assert {"mini-hubert", "random:mini-hubert", "fbank"} <= {row["reference"] for row in rows}

    def test_every_setting_is_explained(self) -> None:
        rows = json.loads(bench("list", "presets", "--json").stdout)
        assert [row for row in rows if not row["meaning"]] == []


def test_doctor_finds_this_environment_whole() -> None:
    result = bench("doctor", "--json")
    findings = {row["what"]: row for row in json.loads(result.stdout)}
    assert findings["torch"]["ok"]
    assert findings["torchaudio"]["ok"]
