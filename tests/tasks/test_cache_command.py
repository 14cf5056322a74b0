"""``bench cache``: what is kept is told, and what is removed harms nobody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from bench.cache_folder import cache_root
from bench.contracts import Context
from bench.errors import UserError
from bench.sizes import parse_size, size_text
from bench.store.claims import claim_folder
from tasks.cache_command import cache
from tasks.corpora.speech_commands import SpeechCommandsData
from tasks.feature_cache.room import features_root, holdings, prune, room_to_grow
from tasks.feature_cache.store import FeatureStore
from tasks.ks import KS


def told(*arguments: str) -> Any:
    done = CliRunner().invoke(cache, [*arguments, "--json"], catch_exceptions=False)
    return json.loads(done.output)


@pytest.fixture
def stores() -> list[FeatureStore]:
    """Three stores of about 100 kB, oldest first, and a corpus."""
    made = []
    for position, name in enumerate(("old", "middle", "new")):
        store = FeatureStore(features_root() / name, {"model": f"{name}-model", "features": "means"})
        store.add({f"{name}{index}": torch.zeros(12_500) for index in range(2)})
        os.utime(store.folder / "about.json", (position, position))
        made.append(store)
    corpus = cache_root() / "mini" / "3-seed0"
    corpus.mkdir(parents=True)
    (corpus / "a.wav").write_bytes(b"0" * 5000)
    (corpus.parent / ".3-seed0.lock").touch()
    return made


class TestShow:
    def test_stores_and_corpora(self, stores: list[FeatureStore]) -> None:
        found = told()
        assert [(row["what"], row["kind"], row["utterances"]) for row in found["kept"]] == [
            ("old-model", "means", 2),
            ("middle-model", "means", 2),
            ("new-model", "means", 2),
            ("mini-3-seed0", "corpora", None),
        ]
        assert found["kept"][3]["size_bytes"] == 5000
        assert found["total_bytes"] == sum(path.stat().st_size for path in cache_root().rglob("*") if path.is_file())
        assert found["removed"] == []

    def test_a_table_for_the_eye(self, stores: list[FeatureStore]) -> None:
        output = CliRunner().invoke(cache, ["--prune", "--keep", "110KB"]).output
        removed, kept = output.split(f"{cache_root()}: ")
        assert "old-model" in removed
        assert "new-model" in kept

    def test_an_evaluation_names_its_model(
        self, speech_commands: SpeechCommandsData, make_upstream: Any, tmp_path: Path
    ) -> None:
        config = KS.presets["smoke"].model_copy(update={"total_steps": 1})
        KS(config).evaluate(make_upstream(), speech_commands, tmp_path / "w", Context(model="small"))
        KS(config).evaluate(make_upstream(), speech_commands, tmp_path / "w", Context(model="same-weights"))
        (row,) = [row for row in told()["kept"] if row["kind"] != "index"]
        assert (row["what"], row["kind"]) == ("same-weights", "means")
        assert row["utterances"] > 10

    def test_indexes_of_corpora(self, speech_commands: SpeechCommandsData, tmp_path: Path) -> None:
        gone = speech_commands.model_copy(update={"root": tmp_path / "gone"})
        shutil.copytree(speech_commands.root, gone.root)
        for data in (speech_commands, gone):
            KS(KS.presets["smoke"]).check(data)
        shutil.rmtree(gone.root)
        rows = {row["what"]: row for row in told()["kept"]}
        assert rows.keys() == {str(speech_commands.root), str(gone.root)}
        assert all(row["kind"] == "index" and row["utterances"] > 10 for row in rows.values())
        pruned = told("--prune")
        assert [row["what"] for row in pruned["removed"]] == [str(gone.root)]
        assert [row["what"] for row in pruned["kept"]] == [str(speech_commands.root)]
        assert [row["what"] for row in told()["kept"]] == [str(speech_commands.root)]

    def test_units_of_teachers(self) -> None:
        folder = cache_root() / "units" / "abc"
        claim_folder(folder, {"teacher": "0123456789abcdef", "layer": 9, "num_clusters": 500})
        (folder / "labels-00000.npz").write_bytes(b"0" * 700)
        (row,) = told("--prune")["kept"]
        assert (row["what"], row["kind"]) == ("0123456789ab, 500 clusters of layer 9", "units")
        assert row["size_bytes"] > 700
        assert folder.is_dir()

    def test_an_empty_cache(self) -> None:
        assert told() == {"folder": str(cache_root()), "kept": [], "removed": [], "total_bytes": 0}


class TestPrune:
    def test_removes_all_features_and_no_corpus(self, stores: list[FeatureStore]) -> None:
        found = told("--prune")
        assert [row["what"] for row in found["removed"]] == ["old-model", "middle-model", "new-model"]
        assert [row["what"] for row in found["kept"]] == ["mini-3-seed0"]
        assert holdings(features_root()) == []

    def test_keeps_what_was_used_last(self, stores: list[FeatureStore]) -> None:
        found = told("--prune", "--keep", "220KB")
        assert [row["what"] for row in found["removed"]] == ["old-model"]
        assert [row["what"] for row in told()["kept"]] == ["middle-model", "new-model", "mini-3-seed0"]

    def test_what_may_not_be_removed_is_said(self, stores: list[FeatureStore], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tasks.feature_cache.room.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(UserError, match=r"3 of 3 folders.*old") as caught:
            CliRunner().invoke(cache, ["--prune"], catch_exceptions=False)
        assert caught.value.exit_code == 1

    def test_keep_alone_is_refused(self) -> None:
        with pytest.raises(UserError, match="Add --prune"):
            CliRunner().invoke(cache, ["--keep", "1GB"], catch_exceptions=False)

    def test_a_process_that_uses_them_goes_on(self, stores: list[FeatureStore]) -> None:
        store = stores[0]
        assert store.find(["old0", "old1"]) == set()
        prune(features_root(), 0)
        assert torch.equal(store["old0"], torch.zeros(12_500))
        with room_to_grow(store.folder, lambda: 1000, limit_bytes=10**9):
            pass
        store.add({"late": torch.ones(3)})
        prune(features_root(), 0)
        assert store.find(["old0", "late"]) == set()
        assert torch.equal(store["late"], torch.ones(3))
        store.add({"later": torch.ones(3)})
        assert [holding.about["model"] for holding in holdings(features_root())] == ["old-model"]

    def test_what_nothing_tells_of_is_removed_too(self, stores: list[FeatureStore]) -> None:
        (stores[1].folder / "about.json").unlink()
        assert "unknown" in [row["what"] for row in told()["kept"]]
        told("--prune")
        assert not stores[1].folder.exists()


@pytest.mark.parametrize(("text", "num_bytes"), [("10GB", 10**10), ("1.5 mb", 1_500_000), ("7", 7)])
def test_sizes(text: str, num_bytes: int) -> None:
    assert parse_size(text, "--keep") == num_bytes
    assert parse_size(size_text(num_bytes), "--keep") == num_bytes
    with pytest.raises(UserError, match="--keep"):
        parse_size(f"{text} apples", "--keep")


def test_is_imported_without_torch_and_without_numpy() -> None:
    script = "import sys, tasks.cache_command; print([name for name in ('torch', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
