"""``owner/name@revision``: one revision of a model of Hugging Face's hub, from a hub on the loopback interface."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import HubertConfig, HubertModel

from bench.errors import UserError
from bench.upstream import UpstreamModel, check_reference, load_upstream, model_name
from bench.upstream.reference_names import hub_id, looks_like_hub_id
from tests.helpers.command_line import bench, error_of
from tests.helpers.hub import StubHub, stub_hub

FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    """Serve two commits of one model: of one and of two layers."""
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": (8,) * 7}
    with stub_hub() as server:
        commits = {}
        for layers, commit in ((1, FIRST), (2, SECOND)):
            torch.manual_seed(0)
            HubertModel(HubertConfig(num_hidden_layers=layers, **sizes)).save_pretrained(tmp_path / commit)
            commits[commit] = {path.name: path.read_bytes() for path in (tmp_path / commit).iterdir()}
        server.models["someone/tiny"] = commits
        server.branches |= {"v1.0": FIRST, "main": SECOND, "refs/pr/1": FIRST}
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        yield server


def num_layers(reference: str) -> int:
    check_reference(reference)
    upstream = load_upstream(reference)
    assert isinstance(upstream, UpstreamModel)
    return upstream.num_layers


@pytest.mark.parametrize("prefix", ["", "hub:"])
@pytest.mark.parametrize(
    ("revision", "expected"), [("", 2), ("@main", 2), ("@v1.0", 1), ("@refs/pr/1", 1), (f"@{FIRST}", 1)]
)
def test_the_revision_decides(prefix: str, revision: str, expected: int, hub: StubHub) -> None:
    assert num_layers(f"{prefix}someone/tiny{revision}") == expected


def test_it_is_kept_in_the_cache(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert num_layers("someone/tiny@v1.0") == 1
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert num_layers("someone/tiny@v1.0") == 1
    with pytest.raises(UserError, match=r"someone/tiny@v2\.0.*HF_HUB_OFFLINE"):
        check_reference("someone/tiny@v2.0")


def test_provenance_has_the_revision_and_the_card_the_model(hub: StubHub, tmp_path: Path) -> None:
    assert bench("convert", "someone/tiny@v1.0", "converted").returncode == 0
    provenance = json.loads(Path("converted/config.json").read_text())["provenance"]
    assert provenance["converted_from"] == "someone/tiny@v1.0"
    assert "base_model: someone/tiny\n" in Path("converted/README.md").read_text()


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("someone/tiny@v9", "revision"),
        (f"someone/tiny@{'3' * 40}", "revision"),
        ("someone/nothing@v1.0", "no public model"),
        ("someone/tiny@", "branch"),
        ("someone/tiny@../x", "branch"),
        ("someone/tiny@a b", "branch"),
        ("someone/tiny@-x", "branch"),
        ("someone/tiny@v1@v2", "branch"),
        (f"someone/tiny@{'v' * 500}", "branch"),
        ("hub:someone@v1/tiny", "owner/name"),
    ],
)
def test_wrong_revisions(reference: str, told: str, hub: StubHub) -> None:
    line = error_of("convert", reference, "converted")
    assert told in line
    assert len(line) <= 400
    assert not Path("converted").exists()


def test_names() -> None:
    assert model_name("someone/tiny@refs/pr/1") == "tiny-refs-pr-1"
    assert model_name("hub:someone/tiny@v1.0") == "tiny-v1.0"
    assert hub_id("hub:someone/tiny@v1.0") == hub_id("someone/tiny@v1.0") == "someone/tiny"
    assert looks_like_hub_id("someone/tiny@v1.0")
    assert not looks_like_hub_id("someone@v1.0")


def test_a_folder_with_an_at_sign_is_a_folder(hub: StubHub, tmp_path: Path) -> None:
    Path("someone").mkdir()
    (tmp_path / FIRST).rename("someone/tiny@main")
    assert num_layers("someone/tiny@main") == 1
    assert model_name("someone/tiny@main") == "tiny-main"
