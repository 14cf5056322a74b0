"""Broken and foreign packages: what still works, and the one line that says what is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from bench.installation import diagnosis
from bench.installation.broken import broken_dependency
from bench.installation.diagnosis import diagnose

ROOT = Path(__file__).parent.parent.parent
BENCH = "from bench.cli import main; main()"
ERRORS = {
    "typer": "ImportError('no such name')",
    "torch": "AttributeError('n' * 500)",
    "torchaudio": "OSError('Could not load this library: x.so')",
    "pandas": "ValueError('numpy.dtype size changed')",
    "lightning": "RuntimeError('operator torchvision::nms does not exist')",
    "s3prl": "ModuleNotFoundError('No module named editdistance', name='editdistance')",
}
WITHOUT_TORCHAUDIO = """
import sys
sys.modules["torchaudio"] = None  # Its import raises ImportError.
from bench.cli import main
for arguments in COMMANDS:
    sys.argv = ["bench", *arguments]
    try:
        main()
    except SystemExit as end:
        print("exit code", end.code, arguments, file=sys.stderr)
"""


def program(code: str, *arguments: str, path: Path | None = None, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a folder, with another folder before ours on the path."""
    folders = [str(folder) for folder in (path, ROOT) if folder]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert len(line) <= 400
    assert done.returncode == 2
    return line


def broken_package(folder: Path, name: str, code: str) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)
    return folder


class TestBrokenDependencies:
    def test_torchaudio_is_not_needed_to_convert_profile_and_report(self, tmp_path: Path) -> None:
        gated = str(ROOT / "tests" / "reference" / "dphubert_small_wavlm_gated.ckpt")
        commands = [
            ["convert", "mini-hubert", "converted"],
            ["convert", gated, "pruned"],
            ["profile", "converted", "fbank", "random:wavlm_large"],
            ["report", str(ROOT / "results" / "sizes")],
            ["list", "teachers"],
            ["run", "--compressor", "dphubert,prune-only", "--tasks", "all", "--dry-run"],
        ]
        done = program(WITHOUT_TORCHAUDIO.replace("COMMANDS", repr(commands)), cwd=tmp_path)
        ends = [line for line in done.stderr.splitlines() if line.startswith("exit code")]
        assert ends == [f"exit code 0 {command}" for command in commands], done.stderr

    @pytest.mark.parametrize(
        ("package", "command"),
        [
            ("typer", ["--help"]),
            ("torch", ["profile", "mini-hubert"]),
            ("torchaudio", ["convert", "HUBERT_BASE", "out"]),
            ("torchaudio", ["features", "fbank", "0.wav", "--out", "features.npz"]),
            ("pandas", ["report", str(ROOT / "results" / "sizes")]),
            ("lightning", ["run", "--compressor", "dphubert", "--tasks", "ks", "--data", "ks.yaml", "--out", "run"]),
            ("s3prl", ["run", "--compressor", "int8", "--tasks", "ks", "--data", "ks.yaml", "--out", "run"]),
        ],
    )
    def test_one_line_names_the_package_and_doctor(
        self, package: str, command: list[str], keywords: Path, tmp_path: Path
    ) -> None:
        broken = broken_package(tmp_path / "broken", package, f"raise {ERRORS[package]}")
        line = only_line(program(BENCH, *command, path=broken, cwd=keywords))
        assert repr("editdistance" if package == "s3prl" else package) in line
        assert "bench doctor" in line
        assert not (keywords / "run" / "models").exists()

    def test_debug_shows_the_traceback(self, tmp_path: Path) -> None:
        broken = broken_package(tmp_path / "broken", "torch", "raise OSError('torn')")
        done = program(BENCH, "profile", "mini-hubert", "--debug", path=broken, cwd=tmp_path)
        assert "Traceback" in done.stderr

    def test_errors_outside_of_imports_are_not_blamed_on_a_package(self) -> None:
        with pytest.raises(ValueError, match="invalid literal") as caught:
            int("x")
        assert broken_dependency(caught.value) is None

    def test_doctor_tries_the_import(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = broken_package(tmp_path / "broken", "torchaudio", "raise OSError('undefined symbol: aoti')")
        monkeypatch.setenv("PYTHONPATH", str(broken))
        # The others take a minute together.
        monkeypatch.setattr(diagnosis, "IMPORTED", {name: diagnosis.IMPORTED[name] for name in ("jiwer", "torchaudio")})
        findings = {finding.what: finding for finding in diagnose()}
        assert findings["jiwer"].ok
        assert not findings["torchaudio"].ok
        assert "undefined symbol" in findings["torchaudio"].found
        assert 'pip install "torch<' in findings["torchaudio"].fix
        assert '"torchaudio<' in findings["torchaudio"].fix

    def test_doctor_compares_versions_with_what_is_declared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(diagnosis, "IMPORTED", {})
        monkeypatch.setattr(diagnosis, "_version", lambda name: "2.1" if name == "lightning" else "99")
        (finding,) = [finding for finding in diagnose() if finding.what == "required packages"]
        assert "lightning 2.1" in finding.found
        assert '"lightning<3,>=2.5"' in finding.fix


class TestForeignPackages:
    @pytest.mark.parametrize("command", [["--help"], ["doctor"], ["list", "tasks"]])
    def test_a_module_on_the_path_that_hides_ours(self, command: list[str], tmp_path: Path) -> None:
        (tmp_path / "tasks.py").write_text("raise SystemExit('run!')")
        line = only_line(program(BENCH, *command, path=tmp_path, cwd=tmp_path))
        assert "'tasks'" in line
        assert str(tmp_path / "tasks.py") in line

    def test_a_module_that_hides_the_application(self, tmp_path: Path) -> None:
        (tmp_path / "bench.py").write_text("raise SystemExit('run!')")
        line = only_line(program("from superb_bench import main; main()", "doctor", path=tmp_path, cwd=tmp_path))
        assert str(tmp_path / "bench.py") in line

    @pytest.mark.parametrize("name", ["tasks", "compressors"])
    def test_a_package_that_another_project_overwrote(self, name: str, tmp_path: Path) -> None:
        for package in ("bench", "compressors", "tasks"):
            shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("mini_hubert"))
        assert program(BENCH, "list", "tasks", path=tmp_path, cwd=tmp_path).returncode == 0
        (tmp_path / name / "__init__.py").write_text("VERSION = 3\n")
        line = only_line(program(BENCH, "list", "tasks", path=tmp_path, cwd=tmp_path))
        assert str(tmp_path / name / "__init__.py") in line

    def test_the_installed_program_starts_there(self) -> None:
        (script,) = entry_points(group="console_scripts", name="bench")
        assert script.value == "superb_bench:main"
