"""Rescaling after pruning: outputs of what reads convolution channels have their former moments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import AudioSource, Context
from bench.upstream import UpstreamModel
from bench.upstream.checkpoint import weights_hash
from bench.upstream.config import uniform_config
from bench.upstream.pruning import prune
from compressors.prune_only.compressor import PruneOnly
from compressors.prune_only.rescaling import readers, rescale_extractor
from tests.compressors.test_prune_only import _config
from tests.helpers.method_checks import tiny_teacher

BASE = uniform_config("hubert", 32, 1, 4, 16, conv_channels=16, positional_kernel=16)
SHAPES = {
    "base": BASE,
    "with-bias": BASE.model_copy(update={"conv_bias": True}),
    "large": uniform_config("wavlm", 32, 1, 4, 16, conv_channels=16, positional_kernel=16, large=True),
}


def _model(shape: str) -> UpstreamModel:
    torch.manual_seed(0)
    return UpstreamModel(SHAPES[shape]).eval()


def _outputs(model: UpstreamModel, waveforms: Tensor) -> Iterator[tuple[nn.Module, Tensor]]:
    """Yield each reader and its output, (channels, values)."""
    for name in readers(model):
        module = model.get_submodule(name)
        outputs: list[Tensor] = []
        hook = module.register_forward_hook(lambda _, __, output, outputs=outputs: outputs.append(output))
        model(waveforms)
        hook.remove()
        output = outputs[0] if isinstance(module, nn.Conv1d) else outputs[0].transpose(1, 2)
        yield module, output.transpose(0, 1).flatten(1).double()


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_each_output_has_its_former_moments(shape: str) -> None:
    generator = torch.Generator().manual_seed(1)
    masks = {f"conv/{index}": torch.rand(16, generator=generator) < 0.4 for index in range(7)}
    batches = [torch.randn(2, 8000, generator=generator) * 0.1 for _ in range(2)]
    original = _model(shape)
    pruned = prune(original, masks)
    collapsed = pruned.extract(torch.cat(batches))[0].square().mean()
    rescale_extractor(pruned, original, masks, batches)
    waveforms = torch.cat(batches)
    found, former = list(_outputs(pruned, waveforms)), list(_outputs(original, waveforms))
    assert len(found) == 7
    for index, ((module, after), (_, before)) in enumerate(zip(found, former, strict=True), start=1):
        expected = before[masks[f"conv/{index}"]] if index < 7 else before
        if getattr(module, "bias", None) is None:
            torch.testing.assert_close(after.square().mean(1), expected.square().mean(1), rtol=1e-4, atol=1e-7)
        else:
            torch.testing.assert_close(after.mean(1), expected.mean(1), rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(after.std(1), expected.std(1), rtol=1e-4, atol=1e-6)
    if shape == "base":
        signal = original.extract(waveforms)[0][..., masks["conv/6"]].square().mean()
        assert collapsed < 0.2 * signal
        assert pruned.extract(waveforms)[0].square().mean() > 0.5 * signal


def test_nothing_changes_where_nothing_is_pruned() -> None:
    model = _model("base")
    masks = {f"conv/{index}": torch.ones(16) for index in range(7)}
    pruned = prune(model, masks)
    rescale_extractor(pruned, model, masks, [torch.randn(1, 8000)])
    for key, weight in model.state_dict().items():
        torch.testing.assert_close(pruned.state_dict()[key], weight, rtol=1e-5, atol=1e-6)


def test_prune_only_rescales_once_and_for_all(
    speech_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = AudioSource(root=speech_folder)
    settings: dict[str, Any] = {"importance": "l1", "recovery": None, "pruning_steps": 2}
    plain, rescaled = (
        PruneOnly(_config(**settings, rescale=rescale)).compress(
            tiny_teacher(), audio, tmp_path / str(rescale), Context()
        )["prune-only"]
        for rescale in (False, True)
    )
    waveforms = torch.randn(1, 8000) * 0.1
    assert rescaled.extract(waveforms)[0].square().mean() > 2 * plain.extract(waveforms)[0].square().mean()
    monkeypatch.setattr(UpstreamModel, "extract", None)
    again = PruneOnly(_config(**settings, rescale=True)).compress(tiny_teacher(), audio, tmp_path / "True", Context())[
        "prune-only"
    ]
    assert weights_hash(again) == weights_hash(rescaled)
