"""Checkpoints of other projects: the message says what they are, and names a way that works."""

from __future__ import annotations

import argparse
import collections
import json
import re
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from bench.errors import UserError
from bench.upstream import load_upstream
from bench.upstream.conversion import from_torchaudio
from tests.helpers.foreign_models import make

WEIGHTS = {"encoder.layer_norm.weight": torch.ones(4)}
NAMESPACE = argparse.Namespace()


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
        ({"args": argparse.Namespace(arch="hubert"), "cfg": None, "model": WEIGHTS}, "fairseq", "['model']"),
        ({"args": None, "cfg": {"_name": "x"}, "model": WEIGHTS}, "fairseq", "weights_only=False"),
        ({"task_cfg": NAMESPACE, "model_cfg": {}, "model_weight": WEIGHTS}, "s3prl", "['model_weight']"),
        ({"Distiller": WEIGHTS, "Config": {}, "Args": NAMESPACE}, "distiller", "ntu-spml/distilhubert"),
        ({"Downstream": WEIGHTS, "Optimizer": {}, "Args": NAMESPACE}, "downstream", "upstream"),
        ({"cfg": {"relative_position_embedding": NAMESPACE}, "model": WEIGHTS}, "WavLM", "['model']"),
        ({"state_dict": WEIGHTS, "pytorch-lightning_version": "2"}, "Lightning", "'config'"),
    ],
    ids=["fairseq", "fairseq-plain", "s3prl", "distiller", "downstream", "wavlm", "lightning"],
)
def test_checkpoints(content: object, kind: str, way: str, is_archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(content, path, _use_new_zipfile_serialization=is_archive)
    message = refusal(path)
    assert kind in message
    assert way in message


@pytest.mark.parametrize("family", ["hubert", "wav2vec2"])
def test_the_way_for_fairseqs_objects_works(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, settings = make(family, encoder_embed_dim=768, encoder_attention_heads=12)
    torch.save({"cfg": OmegaConf.create({"model": settings}), "model": model.state_dict()}, tmp_path / "FILE")
    command = re.search(r'python -c "(.+)"', refusal(tmp_path / "FILE"))
    assert command is not None
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", command.group(1)], check=True)
    assert load_upstream("weights.pt").dim == 768


def fairseqs_file(path: Path, model: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a checkpoint with objects of a package that is not installed, as published HuBERT models have."""

    class Dictionary:
        def __init__(self) -> None:
            self.symbols = ["a"]

    for name in ("fairseq", "fairseq.data", "fairseq.data.dictionary"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    Dictionary.__module__, Dictionary.__qualname__ = "fairseq.data.dictionary", "Dictionary"
    sys.modules["fairseq.data.dictionary"].Dictionary = Dictionary  # type: ignore[attr-defined]
    objects = {
        "args": argparse.Namespace(arch="hubert", layers=[1, 2]),
        "cfg": OmegaConf.create({"model": {"layers": [1, None], "name": "x"}}),
        "task_state": {"dictionaries": [Dictionary()], "counts": collections.defaultdict(list, {"a": [1]})},
    }
    torch.save(objects | {"model": model}, path)


def test_the_script_for_fairseqs_objects_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = make("hubert", encoder_embed_dim=768, encoder_attention_heads=12)
    fairseqs_file(tmp_path / "hubert_base_ls960.pt", model.half().state_dict(), monkeypatch)
    assert "docs/models.md" in refusal(tmp_path / "hubert_base_ls960.pt")
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", script], check=True)
    assert load_upstream("weights.pt").dim == 768


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
