"""``bench export --to dphubert``: the authors' file format, through the ground truth and our own reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bench.exports import export_model
from bench.upstream import load_upstream, save_upstream
from bench.upstream.config import RelativePosition
from tests.helpers.command_line import bench, error_of
from tests.helpers.odd_models import low_rank_shape, padded_batch, perturbed_model, pruned_shape, small_config

INERT = {"encoder_layer_drop"}
"""Their code never applies it when it extracts features, and our reader leaves it out."""


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def assert_same_tensors(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
        assert found[key].dtype == value.dtype


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_the_published_format_survives_the_round_trip(family: str, reference: Path, tmp_path: Path) -> None:
    published = reference / f"dphubert_small_{family}.pth"
    assert bench("convert", str(published), str(tmp_path / "suite")).returncode == 0
    target = tmp_path / "again.pth"
    result = bench("export", str(tmp_path / "suite"), "--to", "dphubert", "--out", str(target))
    assert (result.returncode, result.stdout.strip()) == (0, str(target))
    found, expected = read(target), read(published)
    assert found.keys() == expected.keys()
    assert_same_tensors(found["state_dict"], expected["state_dict"])
    assert_same_tensors(found["distill_linear_projs"], expected["distill_linear_projs"])
    assert found["config"].keys() == expected["config"].keys()
    uses = {"encoder_num_heads": "encoder_use_attention", "encoder_ff_interm_features": "encoder_use_feed_forward"}
    for key in expected["config"].keys() - INERT:
        there, wanted = found["config"][key], expected["config"][key]
        if key in uses:
            # Published files keep stale counts for removed blocks.
            there, wanted = (
                [size for size, is_used in zip(sizes, expected["config"][uses[key]], strict=True) if is_used]
                for sizes in (there, wanted)
            )
        assert there == wanted, key


@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "wavlm"])
@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_read_back_bit_equal(family: Any, large: bool, tmp_path: Path) -> None:
    model = perturbed_model(pruned_shape(small_config(family, large=large)))
    save_upstream(model, tmp_path / "suite", {})
    back = load_upstream(export_model(str(tmp_path / "suite"), "dphubert", tmp_path / "model.pth"))
    assert_same_tensors(dict(back.state_dict()), dict(model.state_dict()))
    waveforms, _ = padded_batch()
    assert all(torch.equal(a, b) for a, b in zip(model(waveforms)[0], back(waveforms)[0], strict=True))


def test_a_group_s_projection_is_repeated_for_each_of_its_layers(tmp_path: Path) -> None:
    weights = {f"{group}.{part}": torch.randn(3) for group in range(2) for part in ("weight", "bias")}
    file = tmp_path / "distillation_projections.safetensors"
    save_file(weights, file, metadata={"layers": json.dumps([[0], [4, 8, 12]])})
    save_upstream(perturbed_model(small_config("hubert")), tmp_path / "suite", {}, beside=[file])
    found = read(export_model(str(tmp_path / "suite"), "dphubert", tmp_path / "model.pth"))["distill_linear_projs"]
    assert_same_tensors(
        found,
        {f"{layer}.{part}": weights[f"{min(layer, 1)}.{part}"] for layer in range(4) for part in ("weight", "bias")},
    )


@pytest.mark.parametrize("groups", ["[[0], [4]]", "[0]", "torn", "[[0]"])
def test_damaged_projections_are_refused(groups: str, tmp_path: Path) -> None:
    file = tmp_path / "distillation_projections.safetensors"
    save_file({"0.weight": torch.ones(3), "0.bias": torch.ones(3)}, file, metadata={"layers": groups})
    save_upstream(perturbed_model(small_config("hubert")), tmp_path / "suite", {}, beside=[file])
    line = error_of("export", str(tmp_path / "suite"), "--to", "dphubert", "--out", str(tmp_path / "model.pth"))
    assert file.name in line
    assert not (tmp_path / "model.pth").exists()


def test_without_projections_there_are_none(tmp_path: Path) -> None:
    export_model("mini-hubert", "dphubert", tmp_path / "model.pth")
    assert read(tmp_path / "model.pth")["distill_linear_projs"] == {}


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (low_rank_shape(small_config("hubert")), "low-rank"),
        (small_config("hubert", projection_layer_norm=False), "LayerNorm"),
        (small_config("hubert", layer_norm_eps=1e-6), "epsilon"),
        (small_config("wavlm", head_dim=5), "width"),
        (small_config("wavlm", relative_position=RelativePosition(has_embedding=False)), "position bias"),
        (small_config("hubert", layers=()), "no transformer layers"),
    ],
    ids=["low-rank", "projection", "epsilon", "head-width", "position-bias", "no-layers"],
)
def test_what_their_code_cannot_build_is_refused(config: Any, named: str, tmp_path: Path) -> None:
    save_upstream(perturbed_model(config), tmp_path / "suite", {})
    line = error_of("export", str(tmp_path / "suite"), "--to", "dphubert", "--out", str(tmp_path / "model.pth"))
    assert named in line
    assert str(tmp_path / "suite") in line
    assert [path.name for path in tmp_path.iterdir()] == ["suite"]
