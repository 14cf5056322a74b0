"""ONNX files: what ONNX Runtime computes, what they say about themselves, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

import bench.exports.onnx as onnx_target
from bench.errors import UserError
from bench.exports import ExportOptions, export_model
from bench.upstream import UpstreamModel, save_upstream
from bench.upstream.config import UpstreamConfig
from bench.upstream.cost import count_parameters
from bench.upstream.reduction import dequantised, quantised
from tests.helpers.capture import MODELS, QUICKEST, low_rank, padded
from tests.helpers.command_line import bench, error_of

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name != QUICKEST]
INPUTS = (padded(400, 400), padded(1040, 1040), padded(9000, 9000, 400, 4321), padded(5123, 5123, 5123))
INT8_ERROR = 0.3
"""Processors without VNNI saturate some sums. A graph with wrong weights has an error of about 1."""

Initializers = dict[str, NDArray[np.generic]]


def saved(model: UpstreamModel, folder: Path) -> str:
    save_upstream(model, folder, {"teacher": "facebook/hubert-base-ls960", "compressor": "prune-only"})
    return str(folder)


def computed(path: Path, waveforms: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [
        torch.from_numpy(each)
        for each in session.run(None, {"waveforms": waveforms.numpy(), "lengths": lengths.numpy()})
    ]


def assert_equal(path: Path, model: UpstreamModel) -> None:
    for inputs in INPUTS:
        with torch.no_grad():
            states, frame_lengths = model(*inputs)
        *found, found_lengths = computed(path, *inputs)
        assert torch.equal(found_lengths, frame_lengths)
        assert len(found) == len(states)
        for theirs, ours in zip(found, states, strict=True):
            torch.testing.assert_close(theirs, ours, atol=2e-5, rtol=0)


def initializers(path: Path) -> Initializers:
    return {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}


def relative_error(path: Path, model: UpstreamModel) -> float:
    waveforms, lengths = padded(16_000, 16_000)
    with torch.no_grad():
        expected = model(waveforms, lengths)[0][-1]
    return float((computed(path, waveforms, lengths)[-2] - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    return export_model(saved(MODELS[QUICKEST](), folder / "model"), "onnx", folder / "model.onnx")


class TestFloat:
    def test_equals_torch_at_any_length_and_padding(self, exported: Path) -> None:
        assert_equal(exported, MODELS[QUICKEST]())

    @pytest.mark.parametrize("name", SLOW)
    def test_every_kind_of_model(self, name: str, tmp_path: Path) -> None:
        model = MODELS[name]()
        assert_equal(export_model(saved(model, tmp_path / "model"), "onnx", tmp_path / "model.onnx"), model)

    @pytest.mark.slow
    @pytest.mark.parametrize("opset", [18, 20, 22])
    def test_opsets(self, opset: int, tmp_path: Path) -> None:
        model = MODELS["hubert"]()
        reference = saved(model, tmp_path / "model")
        path = export_model(reference, "onnx", tmp_path / "model.onnx", ExportOptions(opset=opset))
        assert [entry.version for entry in onnx.load(path).opset_import if not entry.domain] == [opset]
        assert_equal(path, model)

    def test_frames_of_lengths_beyond_what_float32_counts(self, exported: Path) -> None:
        config = MODELS[QUICKEST]().config
        lengths = [399, 400, 719, 2**24 + 1, 2**24 + 79, 2**31 + 319, 0]
        found = computed(exported, torch.zeros(len(lengths), 4000), torch.tensor(lengths))[-1]
        assert found.tolist() == [config.num_frames(length) for length in lengths]

    def test_the_graph_is_valid_and_its_axes_have_names(self, exported: Path) -> None:
        onnx.checker.check_model(exported, full_check=True)
        graph = onnx.load(exported).graph
        axes = {
            value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.output)
        }
        states = {f"hidden_state_{index}": ["batch", "frames", 32] for index in range(4)}
        assert axes == {"waveforms": ["batch", "samples"], "lengths": ["batch"], **states, "frame_lengths": ["batch"]}

    def test_it_says_what_it_is(self, exported: Path) -> None:
        config = MODELS[QUICKEST]().config
        metadata = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
        assert UpstreamConfig.model_validate_json(metadata.pop("shape")) == config
        assert (
            metadata.items()
            >= {
                "model_type": "wavlm",
                "base_model": "facebook/hubert-base-ls960",
                "license": "see base_model",
                "compressor": "prune-only",
                "sample_rate": "16000",
                "waveform_normalization": "none",
                "num_layers": "3",
                "dim": "32",
                "stride": "320",
                "dtype": "float32",
                "params": str(count_parameters(config)),
            }.items()
        )

    def test_it_names_no_path_of_this_machine(self, exported: Path) -> None:
        content = exported.read_bytes()
        assert str(Path(__file__).parents[2]).encode() not in content
        assert str(exported.parent).encode() not in content


class TestInt8:
    @pytest.fixture(scope="class")
    def model(self) -> UpstreamModel:
        """Low-rank and dense layers, most of them int8."""
        model = low_rank(MODELS["hubert"]())
        return quantised(model, [path for path in model.config.linear_sizes if "k_proj" not in path])

    @pytest.fixture(scope="class")
    def path(self, model: UpstreamModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("int8")
        return export_model(saved(model, folder / "model"), "onnx", folder / "model.onnx")

    def test_a_models_own_integers_and_scales_are_kept(self, model: UpstreamModel, path: Path) -> None:
        assert_same_integers(initializers(path), model.state_dict())

    def test_only_linear_layers_are_int8(self, path: Path) -> None:
        types = {node.op_type for node in onnx.load(path).graph.node}
        assert {"MatMulInteger", "DynamicQuantizeLinear", "Conv"} <= types
        assert "ConvInteger" not in types

    def test_is_close_to_the_model(self, model: UpstreamModel, path: Path) -> None:
        assert 0 < relative_error(path, dequantised(model)) < INT8_ERROR

    def test_option_quantises_as_the_compressor_does(self, tmp_path: Path) -> None:
        model = MODELS["hubert"]()
        reference = saved(model, tmp_path / "model")
        path = export_model(reference, "onnx", tmp_path / "model.onnx", ExportOptions(int8=True))
        assert_same_integers(initializers(path), quantised(model, model.config.linear_sizes).state_dict())
        metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        assert metadata["dtype"] == "int8"
        assert 0 < relative_error(path, model) < INT8_ERROR

    def test_static_ranges_become_pairs_that_quantise_and_dequantise(self, tmp_path: Path) -> None:
        model = MODELS["hubert"]()
        chosen = ["layers.0.attention.q_proj", "layers.1.feed_forward.output_dense"]
        model = quantised(model, chosen, dict.fromkeys(chosen, (-3.0, 5.0)))
        path = export_model(saved(model, tmp_path / "model"), "onnx", tmp_path / "model.onnx")
        nodes = [node.op_type for node in onnx.load(path).graph.node]
        assert (nodes.count("QuantizeLinear"), nodes.count("DequantizeLinear")) == (2, 4)
        assert "DynamicQuantizeLinear" not in nodes
        # Both round to the same integers; only inputs at the border of two may differ.
        assert relative_error(path, model) < 0.2 * relative_error(path, MODELS["hubert"]())
        assert_same_integers(initializers(path), model.state_dict())

    @pytest.mark.slow
    def test_onnxruntime_quantises_to_the_same_integers(self, model: UpstreamModel, path: Path, tmp_path: Path) -> None:
        reference = saved(dequantised(model), tmp_path / "model")
        dense = export_model(reference, "onnx", tmp_path / "dense.onnx")
        quantize_dynamic(
            dense, tmp_path / "int8.onnx", ["MatMul"], per_channel=True, weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
        theirs = [
            each for each in initializers(tmp_path / "int8.onnx").values() if each.dtype == np.int8 and each.ndim == 2
        ]
        for ours in (each for each in initializers(path).values() if each.dtype == np.int8):
            assert any(np.array_equal(ours, each) for each in theirs)


def assert_same_integers(found: Initializers, state: Mapping[str, torch.Tensor]) -> None:
    expected = {key: value for key, value in state.items() if value.dtype == torch.int8}
    assert expected
    assert sum(each.dtype == np.int8 and each.ndim == 2 for each in found.values()) == len(expected)
    for key, weight in expected.items():
        np.testing.assert_array_equal(found[f"model.{key}"].T, weight)
        scale = key.removesuffix("weight") + "scale"
        np.testing.assert_array_equal(found[f"model.{scale}"], state[scale])


class TestRefused:
    @pytest.mark.parametrize("opset", ["17", "23", "-1", "9" * 40])
    def test_opsets_that_do_not_work(self, opset: str, tmp_path: Path) -> None:
        line = error_of("export", "mini-hubert", "--to", "onnx", "--opset", opset, "--out", str(tmp_path / "a.onnx"))
        assert "18 to 22" in line
        assert len(line) <= 400

    @pytest.mark.parametrize("name", ["model", "model.pth", "onnx", "x" * 250])
    def test_names_by_which_bench_profile_would_not_know_the_file(self, name: str, tmp_path: Path) -> None:
        line = error_of("export", "mini-hubert", "--to", "onnx", "--out", str(tmp_path / name))
        assert ".onnx" in line
        assert not list(tmp_path.iterdir())

    def test_opset_belongs_to_onnx(self, tmp_path: Path) -> None:
        assert "--opset" in error_of(
            "export", "mini-hubert", "--to", "hf", "--opset", "18", "--out", str(tmp_path / "a")
        )

    @pytest.mark.parametrize(
        ("name", "value", "fact"), [("LARGEST_ERROR", {"float32": 0.0}, "relative"), ("LARGEST_BYTES", 2**24, "2 GiB")]
    )
    def test_nothing_is_written_if_a_check_fails(
        self, name: str, value: object, fact: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reference = saved(MODELS["wav2vec2"](), tmp_path / "model")
        monkeypatch.setattr(onnx_target, name, value)
        with pytest.raises(UserError, match=fact):
            export_model(reference, "onnx", tmp_path / "model.onnx")
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    @pytest.mark.parametrize(
        "arguments",
        [
            ("convert", "{}", "out"),
            ("export", "{}", "--to", "hf", "--out", "out"),
            ("evaluate", "--model", "{}", "--tasks", "ks", "--out", "out"),
            ("compress", "--compressor", "int8", "--teacher", "{}", "--out", "out"),
        ],
        ids=lambda arguments: arguments[0],
    )
    def test_other_commands_say_what_an_onnx_file_is_for(self, arguments: tuple[str, ...], tmp_path: Path) -> None:
        (tmp_path / "model.onnx").write_bytes(b"")
        line = error_of(*(each.format("model.onnx") for each in arguments), cwd=tmp_path)
        assert "model.onnx" in line
        assert "bench profile" in line


@pytest.mark.slow
def test_the_command_and_the_example_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = bench("export", "mini-hubert", "--to", "onnx", "--int8", "--out", "student.onnx", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout.split() == ["student.onnx"]
    assert "relative error" in result.stderr
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (code,) = (
        block.split("```")[0] for block in text.split("```python\n")[1:] if "onnxruntime" in block.split("```")[0]
    )
    waveforms, lengths = padded(9000, 9000, 4321)
    values: dict[str, Any] = {"waveforms": waveforms.numpy(), "lengths": lengths.numpy()}
    monkeypatch.chdir(tmp_path)
    exec(code, values)
    assert values["last"].shape == (2, 27, 128)
    assert values["frame_lengths"].tolist() == [27, 13]
