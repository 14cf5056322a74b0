"""Which code a result says that it comes from, and what it says of the time that it took."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.provenance import code_version, cpu_seconds, versions

FILE = "model.py"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / FILE).write_text("a = 1\n")
    git(folder, "add", FILE)
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture(autouse=True)
def _ask_anew() -> None:
    code_version.cache_clear()


class TestCodeVersion:
    def test_a_clean_checkout_has_its_commit(self, checkout: Path) -> None:
        release, _, commit = code_version(checkout).partition("+")
        assert release[0].isdecimal()
        assert len(commit) == 12
        assert git(checkout, "rev-parse", "HEAD").startswith(commit)

    def test_changed_files_are_marked_and_others_are_not(self, checkout: Path) -> None:
        (checkout / "notes.txt").write_text("mine")
        assert not code_version(checkout).endswith(".dirty")
        code_version.cache_clear()
        (checkout / FILE).write_text("a = 2\n")
        assert code_version(checkout).endswith(".dirty")

    def test_a_copy_inside_another_project_has_no_commit(self, checkout: Path) -> None:
        installed = checkout / "site-packages"
        installed.mkdir()
        assert "+" not in code_version(installed)

    def test_without_git_the_release_is_left(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        assert "+" not in code_version(checkout)

    def test_it_stands_among_the_versions(self) -> None:
        assert versions()["superb-bench"] == code_version()


def test_the_time_of_children_counts() -> None:
    before = cpu_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert cpu_seconds() - before > 0.01
