"""Checkpoints of DPHuBERT that are damaged, edited or hostile: read with their own weights, or refused in a line."""

from __future__ import annotations

import copy
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from bench.upstream import check_reference, load_upstream, weights_hash
from tests.fuzz.damage import HOSTILE, paths, with_value
from tests.fuzz.harness import PROFILES, ends_well, fuzz

NAMES = ["dphubert_small_hubert.pth", "dphubert_small_wavlm_gated.ckpt"]


@pytest.fixture(scope="module")
def whole(reference: Path) -> bytes:
    return (reference / NAMES[0]).read_bytes()


@pytest.fixture(scope="module")
def old_format(reference: Path) -> bytes:
    buffer = io.BytesIO()
    content = torch.load(reference / NAMES[0], weights_only=True)
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("profile", PROFILES)
def test_flipped_bits_never_change_a_model(profile: str, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(whole)
    expected = weights_hash(load_upstream(path))

    def run(place: tuple[int, int]) -> None:
        damaged = bytearray(whole)
        damaged[place[0]] ^= 1 << place[1]
        path.write_bytes(damaged)
        # What no checksum covers, such as times of files, changes nothing.
        assert weights_hash(load_upstream(path)) == expected

    fuzz(run, st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 7)), profile)


@pytest.mark.parametrize("profile", PROFILES)
def test_other_bytes_in_the_old_format(profile: str, old_format: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"

    def run(change: tuple[int, bytes]) -> None:
        start, others = change
        path.write_bytes(old_format[:start] + others + old_format[start + len(others) :])
        load_upstream(path)

    places = st.integers(0, 40_000) | st.integers(0, len(old_format) - 1)
    fuzz(run, st.tuples(places, st.binary(min_size=1, max_size=8)), profile)


@pytest.mark.parametrize("is_old", [True, False])
@pytest.mark.parametrize("profile", PROFILES)
def test_cut_files(profile: str, is_old: bool, whole: bytes, old_format: bytes, tmp_path: Path) -> None:
    content = old_format if is_old else whole
    path = tmp_path / "model.pth"

    def run(length: int) -> None:
        path.write_bytes(content[:length])
        load_upstream(path)
        raise AssertionError(f"{length} bytes of {len(content)} are read as a model")

    # Within a number that says how long the next text is.
    within_length = [content.index(b"X") + 2] if is_old else []
    fuzz(run, st.integers(0, len(content) - 1), profile, examples=within_length, max_examples=20)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", PROFILES)
def test_hostile_configurations(profile: str, name: str, reference: Path, tmp_path: Path) -> None:
    content = torch.load(reference / name, weights_only=True)
    config = {key: list(value) if isinstance(value, tuple) else value for key, value in content["config"].items()}
    path = tmp_path / name

    def run(change: tuple[tuple[Any, ...], Any]) -> None:
        torch.save({**content, "config": with_value(config, *change)}, path)
        check_reference(path)

    fuzz(run, st.tuples(st.sampled_from(paths(config)), st.sampled_from(HOSTILE)), profile, max_examples=30)


KEY = "encoder.transformer.layers.0.attention.k_proj.weight"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda weight: weight * float("nan"), "layers.0.attention.k_proj.weight"),
        (lambda weight: weight * float("inf"), "layers.0.attention.k_proj.weight"),
        (lambda weight: (weight * 1e30).double() * 1e30, "layers.0.attention.k_proj.weight"),
        (lambda weight: weight.long(), "int64"),
        (lambda weight: weight.to(torch.complex64), "complex64"),
        (lambda _: torch.zeros(1).expand(100_000, 100_000), "larger than"),
        (lambda weight: weight.to_sparse(), "sparse"),
        (lambda weight: weight.to("meta"), "without numbers"),
        (lambda weight: weight[:, :1], "shape"),
        (lambda _: [1.0], "named tensors"),
    ],
    ids=["nan", "inf", "overflow", "int", "complex", "expanded", "sparse", "meta", "shape", "list"],
)
def test_hostile_weights(make: Any, told: str, reference: Path, tmp_path: Path) -> None:
    content = copy.deepcopy(torch.load(reference / NAMES[0], weights_only=True))
    content["state_dict"][KEY] = make(content["state_dict"][KEY])
    torch.save(content, tmp_path / "model.pth")
    message = ends_well(load_upstream, tmp_path / "model.pth")
    assert message is not None
    assert told in message


def archive(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in parts.items():
            file.writestr(f"model/{name}", content)


def test_hostile_archives(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    pickled = pickle.dumps({}, protocol=2)
    huge = b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x7f\x85R."
    for parts, compression in (
        ({"data.pkl": pickled, "version": b"3"}, zipfile.ZIP_DEFLATED),
        ({"data.pkl": b"N" * 9_000_000 + b".", "version": b"3"}, zipfile.ZIP_STORED),
        ({"data.pkl": huge, "version": b"3"}, zipfile.ZIP_STORED),
        ({"data.pkl": b"(" * 100_000 + b".", "version": b"3"}, zipfile.ZIP_STORED),
        ({"data.pkl": b"]" * 5_000 + b"a" * 4_999 + b".", "version": b"3"}, zipfile.ZIP_STORED),
        ({"data.pkl": b"", "version": b"3"}, zipfile.ZIP_STORED),
        ({"data.pkl": pickled}, zipfile.ZIP_STORED),
        ({"data.pkl": pickled, "version": b"999999"}, zipfile.ZIP_STORED),
    ):
        archive(path, parts, compression)
        assert ends_well(load_upstream, path) is not None


def test_an_archive_whose_parts_overlap(whole: bytes, tmp_path: Path) -> None:
    """Every entry of the directory is made to name the whole file: a small file, endless to read."""
    damaged = bytearray(whole)
    start = damaged.find(b"PK\x01\x02")
    while start >= 0:
        struct.pack_into("<II", damaged, start + 20, len(whole), len(whole))
        start = damaged.find(b"PK\x01\x02", start + 1)
    (tmp_path / "model.pth").write_bytes(damaged)
    assert ends_well(load_upstream, tmp_path / "model.pth") is not None


def test_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.pth")
    message = ends_well(load_upstream, tmp_path / "model.pth")
    assert message is not None
    assert "pipe" in message
