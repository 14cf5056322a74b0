"""Suite folders that someone edited or damaged: one short line, before anything large is built."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bench.errors import UserError
from bench.profiling import model_card
from bench.profiling.counts import count
from bench.testing import tiny_teacher
from bench.upstream import load_upstream, save_upstream
from bench.upstream.checkpoint import read_manifest
from bench.upstream.reduction import quantised
from tests.fuzz.damage import HOSTILE, paths, with_value
from tests.fuzz.harness import PROFILES, ends_well, fuzz

PROVENANCE = {
    "compressor": "dphubert+int8",
    "teacher": "mini-hubert",
    "teacher_params": 2_456_256,
    "recipe": {"dphubert": {"sparsity": 0.75, "target": "params"}, "int8": {}},
    "from": {"reference": "m", "weights_hash": "0"},
    "target_sparsity": 0.75,
    "audio_hours": 1.5,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    for kind in ("hubert", "wavlm-large"):
        save_upstream(quantised(tiny_teacher(kind), ["layers.0.attention.q_proj"]), root / kind, PROVENANCE)
    return {kind: root / kind for kind in ("hubert", "wavlm-large")}


def edited(folder: Path, tmp_path: Path, content: Any) -> Path:
    """Copy a folder with another configuration."""
    target = tmp_path / "edited"
    if not target.exists():
        shutil.copytree(folder, target)
    (target / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return target


@pytest.mark.parametrize("kind", ["hubert", "wavlm-large"])
@pytest.mark.parametrize("profile", PROFILES)
def test_hostile_values(kind: str, profile: str, folders: dict[str, Path], tmp_path: Path) -> None:
    document = json.loads((folders[kind] / "config.json").read_text())
    inputs = st.tuples(st.sampled_from(paths(document)), st.sampled_from(HOSTILE))

    def run(change: tuple[tuple[Any, ...], Any]) -> None:
        folder = str(edited(folders[kind], tmp_path, with_value(document, *change)))
        count(folder)
        model_card(load_upstream(folder), read_manifest(Path(folder)).provenance)

    fuzz(run, inputs, profile)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dim", 10**7),
        ("total_heads", 10**8),
        ("head_dim", 10**9),
        ("positional_kernel", 10**9),
        ("layer_norm_eps", float("nan")),
        ("layer_norm_eps", -1.0),
        ("conv_bias", 1),
        ("dim", True),
        ("dim", "32"),
        ("dropout", {"hidden": 5.0}),
        ("layers", [{"heads": [0], "feed_forward": 8}] * 100_000),
        ("layers", [{"heads": [0], "feed_forward": 10**12}]),
        ("layers", [{"heads": list(range(10**5)), "feed_forward": 8}]),
        ("conv_layers", [{"channels": 10**30, "kernel": 10, "stride": 320}]),
        ("conv_layers", [{"channels": 8, "kernel": 10, "stride": 1}]),
        ("conv_layers", [{"channels": 8, "kernel": 4096, "stride": 4096}] * 3),
        ("relative_position", {"num_buckets": 320, "max_distance": 80}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_refused_before_anything_is_built(field: str, value: Any, folders: dict[str, Path], tmp_path: Path) -> None:
    document = json.loads((folders["wavlm-large"] / "config.json").read_text())
    folder = edited(folders["wavlm-large"], tmp_path, with_value(document, ("shape", field), value))
    message = ends_well(lambda path: count(str(path)), folder)
    assert message is not None
    assert any(part in message for part in (field, "frame of", "NaN"))
    assert "config.json" in message


@pytest.mark.parametrize(
    "content",
    ["[" * 10_000, '{"a":' * 10_000, "", "null", "[]", '{"schema_version": NaN}', "9" * 5000, "\x00", " " * 10**7],
)
def test_configurations_that_are_none(content: str, folders: dict[str, Path], tmp_path: Path) -> None:
    assert ends_well(load_upstream, edited(folders["hubert"], tmp_path, content)) is not None


@pytest.mark.parametrize("profile", PROFILES)
def test_flipped_bits_are_noticed(profile: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(folders["hubert"], folder)
    weights = (folder / "model.safetensors").read_bytes()

    def run(place: tuple[int, int]) -> None:
        damaged = bytearray(weights)
        damaged[place[0]] ^= 1 << place[1]
        (folder / "model.safetensors").write_bytes(damaged)
        with pytest.raises(UserError) as caught:
            load_upstream(folder)
        raise caught.value

    fuzz(run, st.tuples(st.integers(0, len(weights) - 1), st.integers(0, 7)), profile)


def test_folders_of_earlier_versions_have_no_checksum(folders: dict[str, Path], tmp_path: Path) -> None:
    document = json.loads((folders["hubert"] / "config.json").read_text())
    assert len(document.pop("weights_sha256")) == 64
    load_upstream(edited(folders["hubert"], tmp_path, document))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(value: float, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders["hubert"], folder)
    weights = load_file(folder / "model.safetensors")
    weights["layers.1.attention.k_proj.weight"][0, 0] = value
    save_file(weights, folder / "model.safetensors")
    message = ends_well(load_upstream, folder)
    assert message is not None
    assert "layers.1.attention.k_proj.weight" in message


def header(entries: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**11) + b"{}",
        header({"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}}, bytes(4)),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, bytes(4)),
        header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
        header({"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        header({"a" * 5000: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        header({"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}, bytes(4)),
        header({}),
        header([]),  # type: ignore[arg-type]
        b"",
    ],
    ids=range(11),
)
def test_headers_that_lie(content: bytes, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = edited(folders["hubert"], tmp_path, (folders["hubert"] / "config.json").read_text())
    (folder / "model.safetensors").write_bytes(content)
    assert ends_well(load_upstream, folder) is not None


def test_no_regular_files(folders: dict[str, Path], tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        folder = tmp_path / name
        shutil.copytree(folders["hubert"], folder)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        message = ends_well(load_upstream, folder)
        assert message is not None
        assert name in message
