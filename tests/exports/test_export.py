"""``bench export``: everything that is refused before anything is written."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from setuptools.config.pyprojecttoml import read_configuration

from bench.exports.huggingface.folder import CODE
from bench.exports.s3prl.folder import FILES
from tests.helpers.command_line import error_of

TARGETS = ("hf", "onnx", "dphubert", "s3prl")


def test_unknown_target_is_refused(tmp_path: Path) -> None:
    line = error_of("export", "mini-hubert", "--to", "s3prll", "--out", str(tmp_path / "out"))
    assert "s3prll" in line
    assert all(name in line for name in TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_overwritten(target: str, tmp_path: Path) -> None:
    file = tmp_path / "there"
    file.write_text("mine", encoding="utf-8")
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "file").write_text("mine", encoding="utf-8")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    for destination in (file, folder, link):
        assert str(destination) in error_of("export", "mini-hubert", "--to", target, "--out", str(destination))
    assert file.read_text(encoding="utf-8") == "mine"


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name))
    line = error_of("export", "mini-hubert", "--to", "onnx", "--out", str(tmp_path / "out"))
    assert "onnxruntime" in line
    assert "superb-bench[onnx]" in line


def test_int8_option_belongs_to_onnx(tmp_path: Path) -> None:
    assert "--int8" in error_of("export", "mini-hubert", "--to", "hf", "--int8", "--out", str(tmp_path / "out"))


@pytest.mark.parametrize("reference", ["no/such/model.pth", "fbank"])
def test_only_models_with_weights(reference: str, tmp_path: Path) -> None:
    assert reference in error_of("export", reference, "--to", "hf", "--out", str(tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_files_copied_into_exports_are_installed() -> None:
    """Folders without ``__init__.py`` are no packages, so their files must be declared."""
    repository = Path(__file__).parent.parent.parent
    settings = read_configuration(repository / "pyproject.toml", expand=False)["tool"]["setuptools"]
    declared = settings["package-data"]["bench.exports.s3prl"]
    package = repository / "bench" / "exports" / "s3prl"
    installed = {path for pattern in declared for path in package.glob(pattern)}
    assert {package / "upstream" / name for name in FILES} <= installed
    assert (CODE.parent / "__init__.py").is_file()
