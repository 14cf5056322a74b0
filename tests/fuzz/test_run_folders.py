"""A run's other files that somebody edited: configuration, marks of finished compressions, histories, identities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import strategies as st

from bench.reports.plots.training import training_table
from bench.store.claims import IDENTITY_NAME, claim_folder
from bench.store.run_folder import RunFolder
from tests.fuzz.damage import damaged_json
from tests.fuzz.harness import PROFILES, fuzz

CONFIG = {
    "teacher": "fbank",
    "data": {"name": "mini", "tasks": {"ks": {"root": "x"}}},
    "preset": "mini",
    "models": {"fbank": {"reference": "fbank"}, "dphubert": {"compressor": "dphubert", "settings": {"sparsity": 0.5}}},
    "tasks": {"ks": {"total_steps": 3}},
    "seeds": [0, 1],
}
HISTORY = b"stage,update,loss,target_sparsity\njoint,10,0.5,0.1\njoint,20,0.4,0.2\nfinal,5,0.3,\n"
CELLS = st.sampled_from(
    [b"", b"nan", b"inf", b"-1", b"1e999", b"9" * 400, b"[1]", b"aaaa", b'"', b"\x00", b"\xff", b"\r"]
)


@pytest.mark.parametrize("profile", PROFILES)
def test_configurations(profile: str, tmp_path: Path) -> None:
    """JSON is YAML."""
    folder = RunFolder(tmp_path)

    def read(content: bytes) -> None:
        folder.config_path.write_bytes(content)
        values = folder.read_config()
        assert values is not None
        assert all(isinstance(source, dict) for source in values["models"].values())

    fuzz(read, damaged_json(CONFIG), profile, examples=[b"", b"3", b"a: [", b"\xff"])


@pytest.mark.parametrize("profile", PROFILES)
def test_finished_compressions(profile: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    path = folder.finished_path("dphubert")
    path.parent.mkdir()

    def read(content: bytes) -> None:
        path.write_bytes(content)
        folder.lost_models("dphubert")
        finished = folder.finished_compression("dphubert")
        assert finished is not None
        for model in finished.models:
            assert folder.model_folder(model).resolve().parent == (tmp_path / "models").resolve()

    names = ["../../../outside/m", "/etc", "dphubert/../../x", "dphubert-\r", ".", ""]
    examples = [json.dumps({"models": [name], "seconds": 1}).encode() for name in names]
    fuzz(read, damaged_json({"models": ["dphubert", "dphubert-0.5"], "seconds": 1.5}), profile, examples=examples)


@pytest.mark.parametrize("profile", PROFILES)
def test_histories(profile: str, tmp_path: Path) -> None:
    path = tmp_path / "training.csv"
    lines = HISTORY.splitlines()

    def read(change: tuple[int, int, bytes]) -> None:
        line, column, cell = change
        cells = lines[line].split(b",")
        cells[column : column + 1] = [cell]
        path.write_bytes(b"\n".join([*lines[:line], b",".join(cells), *lines[line + 1 :]]))
        training_table(path)

    fuzz(read, st.tuples(st.integers(0, 3), st.integers(0, 4), st.one_of(CELLS, st.binary(max_size=4))), profile)


@pytest.mark.parametrize("profile", PROFILES)
def test_identities_of_work(profile: str, tmp_path: Path) -> None:
    identity = {"seed": 0, "configuration": {"sparsity": 0.5}}

    def read(content: bytes) -> None:
        (tmp_path / IDENTITY_NAME).write_bytes(content)
        claim_folder(tmp_path, identity)

    fuzz(read, damaged_json(identity), profile, examples=[b"", b"[]", b"null", b"{}", b"\xff"])
