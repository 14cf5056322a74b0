"""Suite folders: what is written is read back exactly, and what is broken is told in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.errors import UserError
from bench.upstream import UpstreamConfig, UpstreamModel, load_folder, load_upstream, save_upstream, weights_hash
from bench.upstream.checkpoint import read_manifest
from bench.upstream.config import TransformerLayerShape, uniform_config
from bench.upstream.random_shapes import random_model


def small_config(**changes: object) -> UpstreamConfig:
    fields = {"positional_kernel": 16, "positional_groups": 4} | changes
    architecture = fields.pop("architecture", "hubert")
    return uniform_config(architecture, 32, 2, 4, 48, 16, **fields)


@pytest.fixture
def model() -> UpstreamModel:
    return random_model(small_config())


@pytest.fixture
def folder(model: UpstreamModel, tmp_path: Path) -> Path:
    save_upstream(model, tmp_path / "model", {"teacher": "random:mini-hubert", "seed": 0})
    return tmp_path / "model"


def edit(folder: Path, **changes: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


class TestRoundTrip:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"large": True},
            {"architecture": "wavlm"},
            {"architecture": "wavlm", "layers": (TransformerLayerShape(heads=(1, 3), feed_forward=0),) * 2},
            {"layers": (TransformerLayerShape(heads=(), feed_forward=7),) * 2},
        ],
        ids=["base", "large", "wavlm", "pruned-wavlm", "pruned"],
    )
    def test_bit_equal(self, changes: dict[str, object], tmp_path: Path) -> None:
        model = random_model(small_config(**changes))
        model.feature_extractor.channel_scale.uniform_()
        save_upstream(model, tmp_path / "a" / "model", {})
        loaded = load_folder(tmp_path / "a" / "model")
        assert loaded.config == model.config
        assert not loaded.training
        waveforms = torch.randn(1, 4000)
        with torch.no_grad():
            for ours, theirs in zip(loaded(waveforms)[0], model(waveforms)[0], strict=True):
                assert torch.equal(ours, theirs)

    def test_model_and_card_and_nothing_else(self, folder: Path) -> None:
        assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
        assert [path.name for path in folder.parent.iterdir()] == ["model"]
        assert load_file(folder / "model.safetensors").keys() == random_model(small_config()).state_dict().keys()

    def test_readable_like_any_other_file(self, folder: Path) -> None:
        (folder.parent / "plain").touch()
        mode = (folder.parent / "plain").stat().st_mode
        assert {path.stat().st_mode for path in folder.iterdir()} == {mode}

    def test_config_tells_which_count_is_meant(self, folder: Path, model: UpstreamModel) -> None:
        content = json.loads((folder / "config.json").read_text())
        trainable = sum(parameter.numel() for parameter in model.parameters())
        assert content["parameters"] == {"trainable": trainable, "dphubert": trainable + 16}
        assert content["schema_version"] == 1
        assert content["reduced_linears"] == {}
        assert content["provenance"] == {"teacher": "random:mini-hubert", "seed": 0}
        assert content["shape"]["architecture"] == "hubert"

    def test_files_beside_the_weights(self, model: UpstreamModel, tmp_path: Path) -> None:
        log = tmp_path / "training.csv"
        log.write_text("step,loss\n")
        save_upstream(model, tmp_path / "model", {}, beside=[log])
        assert (tmp_path / "model" / "training.csv").read_text() == "step,loss\n"
        load_folder(tmp_path / "model")

    def test_through_a_reference(self, folder: Path) -> None:
        assert isinstance(load_upstream(folder), UpstreamModel)

    def test_random_state_of_the_caller_is_left_alone(self, folder: Path) -> None:
        before = torch.get_rng_state()
        load_folder(folder)
        assert torch.equal(torch.get_rng_state(), before)


class TestAtomicity:
    def test_an_existing_folder_is_refused_and_kept(self, folder: Path, model: UpstreamModel) -> None:
        before = (folder / "config.json").read_bytes()
        with pytest.raises(UserError, match="Choose another"):
            save_upstream(model, folder, {"seed": 1})
        assert (folder / "config.json").read_bytes() == before

    def test_an_empty_folder_is_taken(self, model: UpstreamModel, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        save_upstream(model, tmp_path / "model", {})
        load_folder(tmp_path / "model")

    def test_a_failure_leaves_nothing(
        self, model: UpstreamModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left"):
            save_upstream(model, tmp_path / "model", {})
        assert list(tmp_path.iterdir()) == []

    def test_a_parent_that_is_a_file(self, model: UpstreamModel, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match="file/model"):
            save_upstream(model, tmp_path / "file" / "model", {})


class TestRefusals:
    def refusal(self, folder: Path) -> str:
        with pytest.raises(UserError) as caught:
            load_upstream(folder)
        message = str(caught.value)
        assert "\n" not in message
        assert str(folder) in message
        return message

    def test_unknown_schema_version(self, folder: Path) -> None:
        assert "schema version 1" in self.refusal(edit(folder, schema_version=99))

    def test_unknown_architecture(self, folder: Path) -> None:
        shape = json.loads((folder / "config.json").read_text())["shape"] | {"architecture": "whisper"}
        assert "shape.architecture" in self.refusal(edit(folder, shape=shape))

    def test_unknown_field(self, folder: Path) -> None:
        assert "surprise" in self.refusal(edit(folder, surprise=1))

    @pytest.mark.parametrize(
        ("reduced", "told"),
        [
            ({"layers.0.attention.q_proj": {"rank": 4}}, "layers.0.attention.q_proj.down.weight"),
            ({"layers.0.attention.q_proj": {"rank": 33}}, "has rank 33; a layer of 32 inputs and 32 outputs has at"),
            ({"layers.7.attention.q_proj": {"rank": 4}}, "names layers.7.attention.q_proj, which is no linear layer"),
            ({"layers.0.attention.q_proj": {"rank": 0}}, "greater than 0"),
            ({"layers.0.attention.q_proj": {"dtype": "int4"}}, "'float32' or 'int8'"),
            ({"layers.0.attention.q_proj": {}}, "neither rank nor dtype differs"),
            ({"layers.0.attention.q_proj": {"dtype": "int8"}}, "q_proj.scale"),
            (["layers.0.attention.q_proj"], "reduced_linears"),
        ],
        ids=str,
    )
    def test_reduced_linears_that_are_not_there(self, folder: Path, reduced: object, told: str) -> None:
        assert told in self.refusal(edit(folder, reduced_linears=reduced))

    def test_torn_config(self, folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(path.read_text()[:100])
        assert "JSON" in self.refusal(folder)

    def test_no_config(self, folder: Path) -> None:
        (folder / "config.json").unlink()
        assert "config.json" in self.refusal(folder)

    @pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
    def test_torn_weights(self, folder: Path, kept: float) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
        assert "model.safetensors" in self.refusal(folder)

    def test_missing_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        assert "is missing" in self.refusal(folder)

    def test_weights_of_another_model(self, folder: Path, tmp_path: Path) -> None:
        save_upstream(random_model(small_config(large=True)), tmp_path / "other", {})
        (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
        assert "feature_extractor" in self.refusal(folder)


class TestManifest:
    def test_shape_without_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        assert read_manifest(folder).shape == small_config()


class TestHash:
    def test_of_a_dense_model_is_that_of_earlier_versions(self) -> None:
        """Caches of features and unfinished work are known by it."""
        model = random_model(small_config())
        for tensor in model.state_dict().values():
            tensor.zero_()
        assert weights_hash(model) == "0a9d9ecc47cf4bd2b9b21154ee502b154922a16c494fe99d87971543aef3022d"

    def test_equal_for_equal_models(self, folder: Path, model: UpstreamModel) -> None:
        assert weights_hash(load_folder(folder)) == weights_hash(model)

    def test_one_weight_changes_it(self, model: UpstreamModel) -> None:
        before = weights_hash(model)
        with torch.no_grad():
            model.layers[0].attention.q_proj.weight[0, 0] += 1e-6
        assert weights_hash(model) != before

    def test_same_weights_in_another_model_change_it(self) -> None:
        """The indices of heads choose WavLM's biases, but are in no weight."""
        first, second = (
            random_model(
                small_config(architecture="wavlm", layers=(TransformerLayerShape(heads=heads, feed_forward=8),))
            )
            for heads in ((0, 1), (2, 3))
        )
        for ours, theirs in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs)
        assert weights_hash(first) != weights_hash(second)

    def test_dropout_does_not(self, model: UpstreamModel) -> None:
        other = UpstreamModel(
            model.config.model_copy(update={"dropout": small_config().dropout.model_copy(update={"hidden": 0.3})})
        )
        other.load_state_dict(model.state_dict())
        assert weights_hash(other) == weights_hash(model)
