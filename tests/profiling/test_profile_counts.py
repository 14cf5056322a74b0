"""Counted cost: parameters by part, SUPERB's MACs, against published figures and torch's own counter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.errors import UserError
from bench.profiling.counts import PARTS, count, meta_model
from bench.upstream import UpstreamModel, load_upstream, reference_config
from bench.upstream.cost import SUPERB_LENGTHS, count_macs


class TestPublishedModels:
    # Source: SUPERB's leaderboard and its profiler's README; DistilHuBERT by the profiler, without prediction heads.
    @pytest.mark.parametrize(
        ("shape", "macs_superb"),
        [
            ("hubert_base", 1.669156e12),
            ("wavlm_base_plus", 1.669983e12),
            ("hubert_large", 4.323561e12),
            ("distilhubert", 785.9e9),
        ],
    )
    def test_macs_are_the_profiler_s(self, shape: str, macs_superb: float) -> None:
        assert count(f"random:{shape}").macs_superb == pytest.approx(macs_superb, rel=1e-3)

    def test_buckets_of_hubert_base(self) -> None:
        # Source: the README of SUPERB's profiler.
        in_billions = {
            bucket: round(macs / 1e9, 2) for bucket, macs in count("random:hubert_base").macs_buckets.items()
        }
        assert in_billions == {"short": 149.26, "medium": 261.28, "long": 422.37, "longer": 836.25}

    def test_macs_of_a_second(self) -> None:
        assert count("random:hubert_base").macs_per_audio_s == pytest.approx(7.41e9, rel=1e-3)

    @pytest.mark.parametrize("shape", ["hubert_base", "wavlm_base_plus", "hubert_large", "distilhubert"])
    def test_plain_macs_equal_torch_s_counter(self, shape: str) -> None:
        config = reference_config(f"random:{shape}")
        assert config is not None
        # One length a bucket: the formula is the same for all, and torch takes seconds for each.
        lengths = [samples[0] for samples in SUPERB_LENGTHS.values()]
        model = meta_model(config)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            for length in lengths:
                model(torch.empty(1, length, device="meta"))
        assert counter.get_total_flops() == 2 * sum(count_macs(config, length) for length in lengths)

    @pytest.mark.parametrize(
        ("shape", "trainable"),
        [("hubert_base", 94_370_944), ("wavlm_base_plus", 94_381_168), ("hubert_large", 315_434_112)],
    )
    def test_parameters_are_torchaudio_s(self, shape: str, trainable: int) -> None:
        found = count(f"random:{shape}")
        assert found.params_trainable == trainable
        assert found.params == trainable + 512

    def test_parts_of_hubert_base(self) -> None:
        parts = count("random:hubert_base").params_by_part
        assert parts["attention"] == 12 * 4 * (768 * 768 + 768)
        assert parts["feed_forward"] == 12 * (2 * 768 * 3072 + 768 + 3072)
        # Seven convolutions without bias, the norm of the first one, the scale of the last one.
        assert parts["extractor"] == 512 * 10 + 512 * 512 * (4 * 3 + 2 * 2) + 2 * 512 + 512


class TestAnyModel:
    @pytest.mark.parametrize("name", ["dphubert_small_hubert.pth", "dphubert_small_wavlm_gated.ckpt", "mini-hubert"])
    def test_counts_are_those_of_the_loaded_model(self, name: str, reference: Path) -> None:
        where = str(reference / name) if (reference / name).exists() else name
        found, model = count(where), load_upstream(where)
        assert isinstance(model, UpstreamModel)
        assert found.params_trainable == sum(parameter.numel() for parameter in model.parameters())
        assert found.size_bytes == sum(tensor.nbytes for tensor in model.state_dict().values())
        assert sum(found.params_by_part.values()) == found.params
        assert tuple(found.params_by_part) == PARTS

    def test_filter_banks_have_macs_alone(self) -> None:
        found = count("fbank")
        assert (found.params, found.size_bytes) == (0, 0)
        assert round(found.macs_superb / 1e9, 4) == 0.4791  # Source: the SUPERB paper's table.

    def test_unknown_reference(self) -> None:
        with pytest.raises(UserError, match=r"Did you mean 'random:hubert_base'"):
            count("random:hubert_bass")
