"""Damaged and hostile ONNX files: one line, before any runtime sees them or from the runtime itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from bench.exports import export_model
from bench.testing import tiny_teacher
from bench.upstream import onnx_file, save_upstream
from bench.upstream.onnx_file import SHAPE, read_onnx
from bench.upstream.onnx_session import OnnxUpstream
from tests.fuzz.harness import PROFILES, ends_well, fuzz


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An exported model, and a file next to its folder that nothing may read."""
    folder = tmp_path_factory.mktemp("onnx")
    save_upstream(tiny_teacher("hubert"), folder / "model", {})
    return export_model(str(folder / "model"), "onnx", folder / "model.onnx").read_bytes()


def run(path: Path) -> None:
    OnnxUpstream(read_onnx(path))(torch.zeros(1, 400), torch.tensor([400]))


def refused(path: Path, content: bytes | ModelProto) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    message = ends_well(run, path)
    assert message is not None
    assert path.name in message
    return message


@pytest.mark.parametrize("profile", PROFILES)
def test_damage(profile: str, exported: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"

    @st.composite
    def damaged(draw: st.DrawFn) -> bytes:
        content = bytearray(exported)
        for _ in range(draw(st.integers(0, 3))):
            # Most of the file is weights: its first and last parts are the graph and the description.
            place = draw(st.one_of(st.integers(0, len(content) - 1), st.integers(0, min(40_000, len(content) - 1))))
            content[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
        return bytes(content[: draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])

    def read(content: bytes) -> None:
        path.write_bytes(content)
        read_onnx(path)

    fuzz(read, damaged(), profile, examples=[b"", b"\0" * 100, b"onnx", exported[:-1], exported[: len(exported) // 2]])


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "nothing"])
def test_what_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    make: dict[str, Callable[[], object]] = {
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "nothing": lambda: None,
    }
    make[kind]()
    assert "model.onnx" in (ends_well(run, path) or "")


def test_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)
    assert "2 GiB" in (ends_well(run, path) or "")


def test_files_of_other_origin(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    model = helper.make_model(helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", [value], [value]))
    assert "bench export" in refused(tmp_path / "model.onnx", model)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"dim": 1e999}',
        '{"a": ' * 5000,
        "x" * 10**6,
        '{"architecture": "hubert", "dim": 1000000000}',
    ],
)
def test_metadata(value: str, exported: bytes, tmp_path: Path) -> None:
    model = onnx.load_from_string(exported)
    helper.set_model_props(model, {SHAPE: value})
    refused(tmp_path / "model.onnx", model)


class TestInterface:
    def test_other_inputs(self, exported: bytes, tmp_path: Path) -> None:
        model = onnx.load_from_string(exported)
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
        assert "waveforms" in refused(tmp_path / "model.onnx", model)

    def test_other_outputs(self, exported: bytes, tmp_path: Path) -> None:
        model = onnx.load_from_string(exported)
        del model.graph.output[0]
        assert "hidden states" in refused(tmp_path / "model.onnx", model)

    def test_operators_that_the_runtime_lacks(self, exported: bytes, tmp_path: Path) -> None:
        model = onnx.load_from_string(exported)
        model.graph.node[5].op_type = "Surprise"
        refused(tmp_path / "model.onnx", model)

    def test_a_graph_that_fails_when_it_runs(self, exported: bytes, tmp_path: Path) -> None:
        model = onnx.load_from_string(exported)
        reshape = next(node for node in model.graph.node if node.op_type == "Conv")
        weight = next(each for each in model.graph.initializer if each.name == reshape.input[1])
        weight.dims[:] = [weight.dims[0], weight.dims[2], weight.dims[1]]
        refused(tmp_path / "model.onnx", model)

    def test_an_operator_whose_name_is_no_text(self, exported: bytes, tmp_path: Path) -> None:
        refused(tmp_path / "model.onnx", exported.replace(b"Erf", b"Er\xbd"))

    def test_the_runtime_prints_nothing(
        self, exported: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.test_an_operator_whose_name_is_no_text(exported, tmp_path)
        self.test_operators_that_the_runtime_lacks(exported, tmp_path)
        self.test_a_graph_that_fails_when_it_runs(exported, tmp_path)
        captured = capfd.readouterr()
        assert captured.out + captured.err == ""


class TestExternalWeights:
    @pytest.mark.parametrize(
        "location", ["../secret", "{absolute}", "sub/../../secret", "link", "missing", "", ".", "a\0b", "x" * 5000]
    )
    @pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "training"])
    def test_outside_of_the_folder(self, location: str, place: str, exported: bytes, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(bytes(10**6))
        folder = tmp_path / "folder"
        (folder / "sub").mkdir(parents=True)
        (folder / "link").symlink_to(tmp_path / "secret")
        tensor = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=location.format(absolute=tmp_path / "secret"))
        model = onnx.load_from_string(exported)
        inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "inner", [], [])
        if place == "initializer":
            model.graph.initializer.append(tensor)
        elif place == "attribute":
            model.graph.node.append(inner.node[0])
        elif place == "subgraph":
            model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))
        else:
            model.training_info.add().algorithm.CopyFrom(inner)
        assert "outside" in refused(folder / "model.onnx", model)

    def test_inside_of_the_folder(self, exported: bytes, tmp_path: Path) -> None:
        model = onnx.load_from_string(exported)
        path = tmp_path / "model.onnx"
        onnx.save_model(model, path, save_as_external_data=True, location="weights", size_threshold=64)
        run(path)
        assert read_onnx(path).num_bytes == path.stat().st_size + (tmp_path / "weights").stat().st_size

    def test_their_size_is_bounded(self, exported: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "model.onnx"
        onnx.save_model(onnx.load_from_string(exported), path, save_as_external_data=True, location="weights")
        monkeypatch.setattr(onnx_file, "LARGEST_EXTERNAL_BYTES", 100)
        assert "model.onnx" in (ends_well(run, path) or "")
