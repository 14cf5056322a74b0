"""Checkpoints of other projects: the message says what they are, and names a way that works."""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.errors import UserError
from bench.upstream import load_upstream
from bench.upstream.conversion import from_torchaudio

WEIGHTS = {"encoder.layer_norm.weight": torch.ones(4)}
HUGGING_FACE = {"encoder.layers.0.attention.k_proj.weight": torch.ones(4)}
TORCHAUDIO = {"encoder.transformer.layers.0.attention.k_proj.weight": torch.ones(4)}


class Harmful:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("executed"),)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_upstream(path)
    message = " ".join(str(caught.value).split())
    assert len(message.replace(str(path.parent), "")) < 340
    assert path.name in message
    return message


@pytest.mark.parametrize("is_archive", [True, False], ids=["archive", "old format"])
@pytest.mark.parametrize(
    ("content", "kind", "way"),
    [
        ({"args": argparse.Namespace(arch="hubert"), "cfg": None, "model": WEIGHTS}, "fairseq", "hubert-base-ls960"),
        ({"args": None, "cfg": {"_name": "x"}, "model": WEIGHTS}, "fairseq", "convert_hubert"),
        ({"task_cfg": {"normalize": False}, "model_cfg": {}, "model_weight": WEIGHTS}, "s3prl", "hubert-base-ls960"),
        ({"Distiller": WEIGHTS, "Config": {}, "Args": argparse.Namespace()}, "distiller", "ntu-spml/distilhubert"),
        ({"Downstream": WEIGHTS, "Optimizer": {}, "Args": argparse.Namespace()}, "downstream", "upstream"),
        ({"cfg": {"relative_position_embedding": True}, "model": WEIGHTS}, "WavLM", "microsoft/wavlm-base-plus"),
        ({"state_dict": WEIGHTS, "pytorch-lightning_version": "2"}, "Lightning", "'config'"),
        (TORCHAUDIO, "torchaudio", "from_torchaudio"),
        (HUGGING_FACE, "state dict", "config.json"),
    ],
    ids=["fairseq", "fairseq-plain", "s3prl", "distiller", "downstream", "wavlm", "lightning", "torchaudio", "hf"],
)
def test_checkpoints(content: object, kind: str, way: str, is_archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(content, path, _use_new_zipfile_serialization=is_archive)
    message = refusal(path)
    assert kind in message
    assert way in message


def test_code_is_named_and_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"cfg": None, "model": WEIGHTS, "args": Harmful()}, tmp_path / "model.pt")
    assert "fairseq" in refusal(tmp_path / "model.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("m.gguf", b"GGUF\3\0\0\0", "GGUF"),
        ("m.bin", b"GGUF\3\0\0\0", "GGUF"),
        ("m.onnx", b"\x08\x07\x12\x07pytorch", "ONNX"),
        ("tf_model.h5", b"\x89HDF\r\n\x1a\n", "TensorFlow"),
        ("saved_model.pb", b"\x08\x01", "TensorFlow"),
        ("flax_model.msgpack", b"\x81", "Flax"),
        ("m.pth", b"\x1f\x8b\x08", "gzip"),
    ],
)
def test_files_of_other_frameworks(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    assert kind in message
    assert "save_pretrained" in message


def test_a_zip_archive_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("model/config.json", "{}")
    assert "zip archive" in refusal(tmp_path / "model.zip")


@pytest.mark.parametrize("has_config", [True, False])
def test_weights_inside_a_folder(has_config: bool, tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    torch.save(HUGGING_FACE, tmp_path / "pytorch_model.bin")
    if has_config:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "hubert"}))
    for name in ("model.safetensors", "pytorch_model.bin"):
        message = refusal(tmp_path / name)
        assert ("Name its folder" if has_config else "name the folder") in message


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["pytorch_model.bin"], "preprocessor_config.json"),
        (["snapshots/abc/config.json"], "Did you mean"),
        (["tf_model.h5"], "tf_model.h5"),
        (["model.gguf"], "model.gguf"),
        (["saved_model.pb"], "saved_model.pb"),
    ],
)
def test_folders_without_a_configuration(files: list[str], told: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert told in refusal(tmp_path)


def test_a_hugging_face_folder_without_pytorchs_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "hubert"}))
    (tmp_path / "tf_model.h5").touch()
    assert "tf_model.h5" in refusal(tmp_path)


def test_the_way_for_torchaudios_models_works() -> None:
    from torchaudio.models import wav2vec2_base

    model = wav2vec2_base()
    assert from_torchaudio(model, normalize_waveform=False).dim == 768
