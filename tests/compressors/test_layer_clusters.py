"""Groups of similar hidden states: the similarity by its definition, known clusters, whole compressions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.upstream.checkpoint import weights_hash
from compressors.distill_only import DistillOnly
from compressors.dphubert.compressor import DPHuBERT
from compressors.low_rank.compressor import LowRank
from compressors.objectives.layer_clusters import layer_similarity, similar_layers
from compressors.training.kept_tensors import Snapshots
from tests.helpers.method_checks import tiny_teacher

METHODS = [(DPHuBERT, {}), (LowRank, {}), (DistillOnly, {}), (DistillOnly, {"student": "distilhubert"})]


def _compressor(method: Any, **changes: Any) -> Any:
    smoke = method.presets["smoke"]
    given = {"targets": "groups", "num_groups": 2, "similarity_batches": 2, "checkpoint_updates": 2} | changes
    fields = {name: value for name, value in smoke.model_dump().items() if name in smoke.model_fields_set}
    return method(method.config_type.model_validate(fields | given))


class TestSimilarity:
    def test_is_linear_cka(self) -> None:
        """CKA of centred X and Y: the squared norm of X^T Y over the norms of X^T X and Y^T Y."""
        teacher, waveforms = tiny_teacher(), torch.randn(2, 4000)
        similarity = layer_similarity(teacher, [waveforms], "cpu")
        states = [state.flatten(0, 1).double() for state in teacher.distillation_states(waveforms)[0]]
        first, last = (state - state.mean(0) for state in (states[0], states[3]))
        expected = (first.T @ last).square().sum() / ((first.T @ first).norm() * (last.T @ last).norm())
        assert similarity.shape == (4, 4)
        assert similarity[0, 3].item() == pytest.approx(expected.item())
        torch.testing.assert_close(similarity.diagonal(), torch.ones(4).double())

    def test_interrupted_it_is_the_same(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("compressors.training.kept_tensors.SECONDS_BETWEEN_SNAPSHOTS", 0.0)
        teacher, batches = tiny_teacher(), [torch.randn(1, 3000) for _ in range(3)]
        whole = layer_similarity(teacher, batches, "cpu")
        snapshots = Snapshots(tmp_path / "products.safetensors")
        layer_similarity(teacher, batches[:2], "cpu", snapshots)
        resumed = layer_similarity(teacher, batches, "cpu", snapshots)
        assert resumed.equal(whole)


class TestClusters:
    SIMILARITY = torch.tensor(
        [[1.0, 0.2, 0.1, 0.1], [0.2, 1.0, 0.9, 0.3], [0.1, 0.9, 1.0, 0.4], [0.1, 0.3, 0.4, 1.0]], dtype=torch.float64
    )

    @pytest.mark.parametrize(
        ("num_groups", "groups"),
        [(1, ((0, 1, 2, 3),)), (2, ((0,), (1, 2, 3))), (3, ((0,), (1, 2), (3,))), (4, ((0,), (1,), (2,), (3,)))],
    )
    def test_join_the_most_similar_first(self, num_groups: int, groups: Any) -> None:
        assert similar_layers(self.SIMILARITY, num_groups) == groups


class TestCompression:
    @pytest.mark.parametrize(("method", "changes"), METHODS, ids=str)
    def test_learns_the_means_of_all_states_and_resumes(
        self, speech_folder: Path, tmp_path: Path, method: Any, changes: dict[str, Any]
    ) -> None:
        audio, compressor = AudioSource(root=speech_folder), _compressor(method, **changes)
        compressor.check(tiny_teacher(), audio, Context())
        (first,) = compressor.compress(tiny_teacher(), audio, tmp_path, Context()).values()
        (path,) = (tmp_path / "beside").rglob("distillation_group_*.safetensors")
        with safe_open(path, "pt") as file:
            groups = json.loads(file.metadata()["layers"])
        assert sorted(layer for group in groups for layer in group) == [0, 1, 2, 3]
        assert len(groups) == 2
        (second,) = compressor.compress(tiny_teacher(), audio, tmp_path, Context()).values()
        assert weights_hash(first) == weights_hash(second)

    def test_takes_groups_that_the_user_names(self, speech_folder: Path, tmp_path: Path) -> None:
        compressor = _compressor(DPHuBERT, distillation_layers=[[0, 1], [3]])
        compressor.compress(tiny_teacher(), AudioSource(root=speech_folder), tmp_path, Context())
        assert not (tmp_path / "layer-similarity.safetensors").exists()
        assert "num_groups" not in compressor.config.model_dump()

    @pytest.mark.parametrize(("method", "changes"), METHODS, ids=str)
    def test_more_groups_than_states_are_refused(
        self, speech_folder: Path, method: Any, changes: dict[str, Any]
    ) -> None:
        compressor = _compressor(method, **changes, num_groups=5)
        with pytest.raises(UserError, match="num_groups=5"):
            compressor.check(tiny_teacher(), AudioSource(root=speech_folder), Context())

    def test_settings_of_clusters_are_stored_only_where_they_have_an_effect(self) -> None:
        for method in (DPHuBERT, LowRank, DistillOnly):
            assert "num_groups" not in method.presets["mini"].model_dump()
            assert "num_groups" in _compressor(method).config.model_dump()
