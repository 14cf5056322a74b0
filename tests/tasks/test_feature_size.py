"""What a task says it will keep of an upstream's features, against what it then keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from bench.contracts import Context, KeepsFeatures
from bench.upstream.checkpoint import weights_hash
from tasks.asr import ASR
from tasks.corpora.librispeech import LibriSpeechData
from tasks.corpora.speech_commands import SpeechCommandsData
from tasks.ks import KS


def tensor_bytes(folder: Path) -> int:
    total = 0
    for pack in folder.glob("*.safetensors"):
        with safe_open(pack, framework="pt") as tensors:
            total += sum(tensors.get_tensor(name).nbytes for name in tensors.keys())  # noqa: SIM118
    return total


@pytest.mark.parametrize("stride", [320, 160])
def test_of_frames(stride: int, librispeech: LibriSpeechData, make_upstream: Any, tmp_path: Path) -> None:
    upstream = make_upstream(stride=stride)
    config = ASR.presets["smoke"].model_copy(update={"total_steps": 2, "hidden_size": 8})
    task = ASR(config)
    folder, told = config.feature_store(upstream, weights_hash(upstream), task.check(librispeech), Context())
    task.evaluate(upstream, librispeech, tmp_path / "w", Context())
    # Every split of this corpus has the same audio, which is kept once.
    assert 0.9 * told / 3 < tensor_bytes(folder) <= told / 3


def test_of_means(speech_commands: SpeechCommandsData, make_upstream: Any, tmp_path: Path) -> None:
    upstream = make_upstream()
    config = KS.presets["smoke"].model_copy(update={"total_steps": 2})
    task = KS(config)
    folder, told = config.feature_store(upstream, weights_hash(upstream), task.check(speech_commands), Context())
    assert told == sum(size.num_utterances for size in task.check(speech_commands).values()) * 3 * 16 * 4
    task.evaluate(upstream, speech_commands, tmp_path / "w", Context())
    assert 0 < tensor_bytes(folder) <= told
    assert config.feature_store(upstream, "other", {}, Context())[0] != folder


def test_a_subset_is_told_as_one(speech_commands: SpeechCommandsData, make_upstream: Any) -> None:
    config = KS.presets["smoke"].model_copy(update={"max_train_utterances": 2, "max_eval_utterances": 3})
    _, told = config.feature_store(make_upstream(), "w", KS(config).check(speech_commands), Context())
    assert told == (2 + 3 + 3) * 3 * 16 * 4


def test_the_tasks_configurations_have_what_the_run_asks_for() -> None:
    assert isinstance(ASR.presets["mini"], KeepsFeatures)
