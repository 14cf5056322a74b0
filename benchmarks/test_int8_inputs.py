"""Error and time of int8 layers, dynamic and static, in torch and in ONNX Runtime: ratios measured in one run.

Errors are those of ``mini-hubert`` on read speech, in the folder that ``REAL_SPEECH_DIR`` names. Times are those of
layers as wide as HuBERT Base's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from bench.audio.files import AudioFile, read_waveform
from bench.contracts import AudioSource, Context
from bench.exports.export import export_model
from bench.profiling.models import Timed
from bench.profiling.timing import Repeats, time_in_turn
from bench.testing.material import write_speech
from bench.upstream import UpstreamModel, load_upstream, save_upstream
from bench.upstream.config import uniform_config
from bench.upstream.onnx_file import read_onnx
from bench.upstream.onnx_session import OnnxUpstream
from bench.upstream.random_shapes import random_model
from compressors.int8 import Int8, Int8Config
from compressors.size.calibration import CALIBRATION_AUDIO
from compressors.training.files import training_files

CONFIGS = {
    "dynamic": Int8Config(),
    "static": Int8Config(activations="static"),
    "static, minmax": Int8Config(activations="static", ranges="minmax"),
}
LARGEST_ERROR_RATIO = 1.0
"""Of the last hidden state, static to dynamic, in torch."""
LARGEST_TIME_RATIO = 1.3
"""Static to dynamic, in torch."""
NUM_TEST_FILES = 10


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def compressed(teacher: UpstreamModel, audio: AudioSource, workdir: Path) -> dict[str, UpstreamModel]:
    """Quantise a model in each way."""
    return {name: Int8(config).compress(teacher, audio, workdir, Context())["int8"] for name, config in CONFIGS.items()}


def in_onnx(models: Mapping[str, UpstreamModel], folder: Path) -> dict[str, OnnxUpstream]:
    """Export the dynamic and the static model."""
    found = {}
    for name, model in models.items():
        if name == "static, minmax":
            continue
        save_upstream(model, folder / name, {})
        path = export_model(str(folder / name), "onnx", folder / f"{name}.onnx")
        found[name] = OnnxUpstream(read_onnx(path))
    return found


def error(model: Timed, teacher: UpstreamModel, waveforms: list[Tensor]) -> float:
    """Return the mean over utterances of the relative error of the last hidden state."""
    errors = []
    for waveform in waveforms:
        lengths = torch.tensor([waveform.shape[1]])
        with torch.inference_mode():
            found, wanted = (each(waveform, lengths)[0][-1] for each in (model, teacher))
        errors.append(float((found - wanted).norm() / wanted.norm()))
    return sum(errors) / len(errors)


def test_static_ranges_lose_no_accuracy(tmp_path: Path) -> None:
    """Calibrated on training splits, and tested on others."""
    folder = os.environ.get("REAL_SPEECH_DIR")
    if folder is None:
        pytest.skip("REAL_SPEECH_DIR names no folder")
    root = Path(folder) / "librispeech"
    source = AudioSource(layout="librispeech", root=root, splits=("test-clean",))
    teacher = load_upstream("mini-hubert")
    assert isinstance(teacher, UpstreamModel)
    models = compressed(teacher, AudioSource(layout="librispeech", root=root), tmp_path)
    files = training_files(source, CALIBRATION_AUDIO, teacher.config.window)
    waveforms = [waveform_of(file) for file in files[:NUM_TEST_FILES]]
    errors = {name: error(model, teacher, waveforms) for name, model in models.items()}
    errors |= {f"{name}, ONNX": error(model, teacher, waveforms) for name, model in in_onnx(models, tmp_path).items()}
    for name, value in errors.items():
        Console().print(f"{name}: relative error of the last hidden state {value:.4f}")
    assert errors["static"] <= LARGEST_ERROR_RATIO * errors["dynamic"]


def waveform_of(file: AudioFile) -> Tensor:
    """Read at most 10 s, (1, samples)."""
    return torch.from_numpy(read_waveform(file))[None, : 10 * 16_000]


def test_static_ranges_cost_no_time(tmp_path: Path) -> None:
    """Three layers of HuBERT Base's width, 5 s of audio."""
    (tmp_path / "audio").mkdir()
    write_speech(tmp_path / "audio")
    teacher = random_model(uniform_config("hubert", 768, 3, 12, 3072, conv_channels=64))
    models = compressed(teacher, AudioSource(root=tmp_path / "audio"), tmp_path)
    waveforms = 0.1 * torch.randn(1, 80_000, generator=torch.Generator().manual_seed(0))
    kinds: dict[str, dict[str, Timed]] = {
        "torch": {"float32": teacher, **models},
        "ONNX": {**in_onnx(models, tmp_path)},
    }
    for kind, by_name in kinds.items():
        times = time_in_turn(list(by_name.values()), [waveforms], Repeats(wanted=15, limit_s=30.0))
        fastest = {name: float(each.rounds().min()) for name, each in zip(by_name, times, strict=True)}
        for name, seconds in fastest.items():
            Console().print(f"{kind}: {name} takes {seconds / fastest['dynamic']:.2f} of dynamic int8's time")
        if kind == "torch":
            assert fastest["static"] <= LARGEST_TIME_RATIO * fastest["dynamic"]
