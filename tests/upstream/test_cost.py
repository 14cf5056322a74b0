"""Parameters and MACs by formula, against real models, SUPERB's profiler and torch's own counter."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import ConvLayerShape, ReducedLinear, TransformerLayerShape, uniform_config
from bench.upstream.cost import (
    SUPERB_LENGTHS,
    count_dphubert_parameters,
    count_macs,
    count_parameters,
    superb_macs,
)
from tests.helpers.reference_names import BASE_CONFIGS

TRUTH = json.loads((Path(__file__).parent.parent / "reference" / "superb_macs.json").read_text())
PROFILED = TRUTH["models"]
LENGTHS = [length for lengths in SUPERB_LENGTHS.values() for length in lengths]
HUBERT_BASE, WAVLM_BASE = BASE_CONFIGS["hubert_base"], BASE_CONFIGS["wavlm_base_plus"]
HUBERT_LARGE = uniform_config("hubert", 1024, 24, 16, 4096, large=True, conv_bias=False)
DISTILHUBERT = uniform_config("hubert", 768, 2, 12, 3072, projection_layer_norm=False)


def pruned(config: UpstreamConfig, channels, heads, feed_forward, **changes) -> UpstreamConfig:
    return config.model_copy(
        update={
            "conv_layers": tuple(
                layer.model_copy(update={"channels": count})
                for layer, count in zip(config.conv_layers, channels, strict=True)
            ),
            "layers": tuple(
                TransformerLayerShape(heads=tuple(kept), feed_forward=width)
                for kept, width in zip(heads, feed_forward, strict=True)
            ),
            **changes,
        }
    )


def small(architecture: str, *, large: bool = False, **changes) -> UpstreamConfig:
    return uniform_config(architecture, 48, 3, 4, 40, 16, large=large, **changes)


PRUNED_SIZES = ((3, 5, 7, 9, 11, 13, 15), ((1, 3), (), (0, 1, 2, 3)), (0, 17, 40))
LOST_BIAS = {"relative_position": small("wavlm").relative_position.model_copy(update={"has_embedding": False})}
SHAPES = {
    "hubert": small("hubert"),
    "hubert-large": small("hubert", large=True),
    "odd-positional-kernel": small("hubert", positional_kernel=31, positional_groups=8),
    "no-projection-norm": small("hubert", projection_layer_norm=False),
    "other-convolutions": small("hubert", conv_layers=(ConvLayerShape(channels=6, kernel=320, stride=160),)),
    "wavlm": small("wavlm"),
    "wavlm-large": small("wavlm", large=True),
    "hubert-pruned": pruned(small("hubert"), *PRUNED_SIZES),
    "wav2vec2-large-pruned": pruned(small("wav2vec2", large=True), *PRUNED_SIZES),
    "wavlm-pruned": pruned(small("wavlm"), *PRUNED_SIZES),
    "wavlm-pruned-without-bias": pruned(small("wavlm"), *PRUNED_SIZES, **LOST_BIAS),
    "no-transformer": small("hubert").model_copy(update={"layers": ()}),
    "low-rank": small("wavlm").with_reduced_linears(
        {
            "feature_projection.projection": ReducedLinear(rank=3),
            "layers.0.attention.v_proj": ReducedLinear(rank=5),
            "layers.2.feed_forward.output_dense": ReducedLinear(rank=40),
        }
    ),
    "pruned-int8-and-low-rank": pruned(small("hubert"), *PRUNED_SIZES).with_reduced_linears(
        {
            "layers.1.feed_forward.output_dense": ReducedLinear(dtype="int8"),
            "layers.0.attention.out_proj": ReducedLinear(rank=2, dtype="int8"),
        }
    ),
}


class TestParameters:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_equal_those_of_the_model(self, shape):
        with torch.device("meta"):
            model = UpstreamModel(SHAPES[shape])
        assert count_parameters(SHAPES[shape]) == sum(parameter.numel() for parameter in model.parameters())

    @pytest.mark.parametrize(
        ("config", "count"),
        [(HUBERT_BASE, 94_371_456), (WAVLM_BASE, 94_381_680), (HUBERT_LARGE, 315_434_624), (DISTILHUBERT, None)],
    )
    def test_published_models(self, config, count):
        assert count is None or count_dphubert_parameters(config) == count
        assert count_dphubert_parameters(config) - count_parameters(config) == 512


def reference_config(name: str) -> UpstreamConfig:
    shape = PROFILED[name]["analytic_arguments"]
    channels = [layer[0] for layer in shape["conv"]]
    return pruned(HUBERT_BASE, channels, [range(count) for count in shape["heads"]], shape["ff"])


class TestMacs:
    @pytest.mark.parametrize("name", [name for name in PROFILED if "dphubert reference" in name])
    def test_plain_count_of_each_utterance_as_profiled(self, name):
        config = reference_config(name)
        assert [count_macs(config, length) for length in TRUTH["lengths_samples"]] == PROFILED[name]["per_utt_macs"]
        assert superb_macs(config).macs == PROFILED[name]["total_macs"]

    @pytest.mark.parametrize(
        ("name", "config"),
        [
            ("hubert_base(s3prl,seq_multiple=1)", HUBERT_BASE),
            ("wav2vec2_base(s3prl,seq_multiple=1)", HUBERT_BASE),
            ("distilhubert_without_prediction_heads(s3prl)", DISTILHUBERT),
        ],
    )
    def test_profiler_count_to_the_integer(self, name, config):
        macs = superb_macs(config)
        assert macs.macs_superb == PROFILED[name]["total_macs"]
        assert macs.buckets == PROFILED[name]["bucket_macs"]

    @pytest.mark.parametrize(
        ("config", "plain", "published"),
        [(WAVLM_BASE, 1_666_350_229_504, 1.670e12), (HUBERT_LARGE, 4_316_018_327_552, 4.324e12)],
    )
    def test_published_models(self, config, plain, published):
        macs = superb_macs(config)
        assert macs.macs == plain
        assert macs.macs_superb == pytest.approx(published, rel=2e-4)

    def test_large_wavlm_and_wav2vec2_are_within_the_table_s_rounding(self):
        wavlm = uniform_config("wavlm", 1024, 24, 16, 4096, large=True)
        wav2vec2 = uniform_config("wav2vec2", 1024, 24, 16, 4096, large=True)
        assert superb_macs(wavlm).macs_superb == pytest.approx(4.326e12, rel=1e-4)
        assert superb_macs(wav2vec2).macs_superb == pytest.approx(4.326e12, rel=1e-3)

    def test_lengths_are_superb_s(self):
        assert TRUTH["lengths_samples"] == LENGTHS

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("num_samples", [720, 3600, 8123])
    def test_equals_torch_s_counter(self, shape, num_samples):
        with torch.device("meta"):
            model = UpstreamModel(SHAPES[shape]).eval()
            waveforms = torch.empty(1, num_samples)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(waveforms)
        assert counter.get_total_flops() == 2 * count_macs(SHAPES[shape], num_samples)
