"""``bench export --push``, against a stand-in for the hub on the loopback interface."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants

from tests.helpers.command_line import bench, bench_process, error_of
from tests.helpers.hub import stub_hub


@pytest.fixture(autouse=True)
def logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_stub")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "home" / "stored"))


def test_the_folder_is_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stub_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        folder = tmp_path / "student"
        result = bench_process("export", "mini-hubert", "--to", "hf", "--out", str(folder), "--push", "me/student")
        assert result.returncode == 0, result.stderr
    assert hub.created[0]["name"] == "student"
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert hub.tokens == {"Bearer hf_stub"}
    card = ModelCard(hub.files["README.md"].decode())
    assert card.data.library_name == "transformers"
    assert 'from_pretrained("me/student")' in card.text


def test_a_file_is_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stub_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        file = tmp_path / "student.pth"
        result = bench("export", "mini-hubert", "--to", "dphubert", "--out", str(file), "--push", "me/student")
    assert result.returncode == 0, result.stderr
    assert hub.files == {"student.pth": file.read_bytes()}


def test_a_refusal_keeps_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stub_hub(refuses=True) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        line = error_of("export", "mini-hubert", "--to", "hf", "--out", str(tmp_path / "out"), "--push", "me/student")
    assert "me/student" in line
    assert "403" in line
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_an_unreachable_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stub_hub() as hub:
        pass
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    line = error_of("export", "mini-hubert", "--to", "hf", "--out", str(tmp_path / "out"), "--push", "me/student")
    assert "me/student" in line


@pytest.mark.parametrize("repository", ["student", "me/you/student", "me/../student", ""])
def test_the_name_is_checked_before_the_export(repository: str, tmp_path: Path) -> None:
    line = error_of("export", "mini-hubert", "--to", "hf", "--out", str(tmp_path / "out"), "--push", repository)
    assert "owner/name" in line
    assert not (tmp_path / "out").exists()


def test_a_login_is_needed_before_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    line = error_of("export", "mini-hubert", "--to", "hf", "--out", str(tmp_path / "out"), "--push", "me/student")
    assert "HF_TOKEN" in line
    assert not (tmp_path / "out").exists()


def test_offline_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    line = error_of("export", "mini-hubert", "--to", "hf", "--out", str(tmp_path / "out"), "--push", "me/student")
    assert "HF_HUB_OFFLINE" in line
