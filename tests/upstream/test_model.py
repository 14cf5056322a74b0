"""The network against the reference implementation's hidden states, and its two contracts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.upstream import UpstreamModel, load_upstream
from bench.upstream.config import RelativePosition, UpstreamConfig, uniform_config
from bench.upstream.model import valid_frames
from bench.upstream.random_shapes import random_model
from bench.upstream.wavlm_attention import relative_position_buckets

TOLERANCE = 1e-4


def small(**changes: object) -> UpstreamConfig:
    fields = {"positional_kernel": 16, "positional_groups": 4} | changes
    architecture = fields.pop("architecture", "hubert")
    return uniform_config(architecture, 32, 3, 4, 48, 16, **fields)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
class TestReferenceStates:
    """Models pruned by DPHuBERT's own code, with whole blocks missing."""

    @pytest.fixture
    def expected(self, family: str, reference: Path) -> dict[str, np.ndarray]:
        return dict(np.load(reference / f"dphubert_small_{family}.npz"))

    @pytest.fixture
    def upstream(self, family: str, reference: Path) -> UpstreamModel:
        return load_upstream(reference / f"dphubert_small_{family}.pth")

    def test_single_utterances(self, upstream: UpstreamModel, expected: dict[str, np.ndarray]) -> None:
        for utterance, length in enumerate(expected["lengths"]):
            waveform = torch.from_numpy(expected["wav"][utterance : utterance + 1, :length])
            with torch.no_grad():
                states, _ = upstream.distillation_states(waveform)
            assert len(states) == 5
            for index, state in enumerate(states):
                theirs = expected[f"pruned/single{utterance}/{index}"]
                np.testing.assert_allclose(state[0], theirs, atol=TOLERANCE, rtol=0)

    def test_padded_batch_padding_included(self, upstream: UpstreamModel, expected: dict[str, np.ndarray]) -> None:
        lengths = torch.from_numpy(expected["lengths"])
        with torch.no_grad():
            states, frame_lengths = upstream.distillation_states(torch.from_numpy(expected["wav"]), lengths)
        assert frame_lengths.tolist() == expected["pruned/batch/out_lengths"].tolist()
        for index, state in enumerate(states):
            np.testing.assert_allclose(state, expected[f"pruned/batch/{index}"], atol=TOLERANCE, rtol=0)

    def test_last_superb_state_is_the_models_output(
        self, upstream: UpstreamModel, expected: dict[str, np.ndarray]
    ) -> None:
        waveform = torch.from_numpy(expected["wav"][:1])
        with torch.no_grad():
            states, _ = upstream(waveform)
        np.testing.assert_allclose(states[-1][0], expected["pruned/forward_single0"], atol=TOLERANCE, rtol=0)


class TestBuckets:
    @pytest.mark.parametrize(("num_buckets", "max_distance"), [(320, 800), (32, 40)])
    def test_equal_the_reference_exactly(self, num_buckets: int, max_distance: int, reference: Path) -> None:
        data = np.load(reference / "wavlm_buckets.npz")
        key = next(key for key in data if key.endswith(f"{num_buckets}_{max_distance}"))
        shape = RelativePosition(num_buckets=num_buckets, max_distance=max_distance)
        buckets = relative_position_buckets(1201, shape, torch.device("cpu"))
        # Key minus query from -1200 to 0 along the last query's row, and from 0 to 1200 along the first's.
        ours = torch.cat([buckets[-1], buckets[0, 1:]])
        assert ours.tolist() == data[key].tolist()


class TestContracts:
    @pytest.mark.parametrize("large", [False, True])
    def test_first_state_is_after_the_positional_convolution(self, large: bool) -> None:
        model = random_model(small(large=large))
        waveforms = torch.randn(1, 4000)
        superb, _ = model(waveforms)
        distillation, _ = model.distillation_states(waveforms)
        features = model.feature_extractor(
            (waveforms - waveforms.mean()) / (waveforms.var(correction=0) + 1e-5).sqrt() if large else waveforms
        )
        projected = model.feature_projection(features)
        torch.testing.assert_close(distillation[0], projected)
        entering = projected + model.positional_convolution(projected)
        torch.testing.assert_close(superb[0], entering if large else model.layer_norm(entering))

    @pytest.mark.parametrize("large", [False, True])
    def test_states_differ_in_the_first_and_for_pre_norm_the_last(self, large: bool) -> None:
        model = random_model(small(large=large))
        waveforms = torch.randn(1, 4000)
        superb, _ = model(waveforms)
        distillation, _ = model.distillation_states(waveforms)
        same = [torch.equal(ours, theirs) for ours, theirs in zip(superb, distillation, strict=True)]
        assert same == [False, True, True, not large]
        if large:
            torch.testing.assert_close(superb[-1], model.layer_norm(distillation[-1]))

    def test_frame_counts(self) -> None:
        model = random_model(small())
        for num_samples, frames in ((400, 1), (719, 1), (720, 2), (16_000, 49)):
            states, frame_lengths = model(torch.randn(1, num_samples))
            assert states[0].shape == (1, frames, 32)
            assert frame_lengths.tolist() == [frames] == [model.config.num_frames(num_samples)]

    def test_too_short_an_utterance_is_refused(self) -> None:
        with pytest.raises(ValueError, match="399"):
            random_model(small())(torch.randn(2, 1000), torch.tensor([1000, 399]))

    @pytest.mark.parametrize("architecture", ["hubert", "wavlm"])
    def test_layer_norm_extractor_makes_padding_invisible(self, architecture: str) -> None:
        model = random_model(small(architecture=architecture, large=True))
        waveforms = torch.randn(2, 6000) * torch.tensor([[1.0], [0.2]]) + 0.5
        lengths = torch.tensor([6000, 3100])
        waveforms[1, 3100:] = 0
        batch, frame_lengths = model(waveforms, lengths)
        alone, _ = model(waveforms[1:, :3100])
        for padded, single in zip(batch, alone, strict=True):
            torch.testing.assert_close(padded[1, : frame_lengths[1]], single[0], atol=2e-5, rtol=0)

    def test_full_lengths_change_nothing(self) -> None:
        model = random_model(small())
        waveforms = torch.randn(2, 4000)
        given, _ = model(waveforms, torch.tensor([4000, 4000]))
        for ours, theirs in zip(given, model(waveforms)[0], strict=True):
            assert torch.equal(ours, theirs)

    @pytest.mark.parametrize("architecture", ["hubert", "wavlm"])
    @pytest.mark.parametrize("lengths", [None, "cpu", "meta"])
    def test_values_on_a_device_are_never_read(self, architecture: str, lengths: str | None) -> None:
        """Reading a value of the meta device raises; on a GPU, it would wait for all work so far."""
        config = small(architecture=architecture, normalize_waveform=True)
        model = random_model(config).to("meta")
        given = None if lengths is None else torch.tensor([4000, 2500]).to(lengths)
        states, _ = model(torch.empty(2, 4000, device="meta"), given)
        assert all(state.shape == (2, config.num_frames(4000), config.dim) for state in states)

    def test_utterances_too_short_for_a_frame_are_refused_without_lengths_too(self) -> None:
        with pytest.raises(ValueError, match="399"):
            random_model(small())(torch.randn(2, 399))

    def test_dropout_in_training_mode_alone(self) -> None:
        model = random_model(small())
        waveforms = torch.randn(1, 4000)
        assert torch.equal(model(waveforms)[0][-1], model(waveforms)[0][-1])
        model.train()
        assert not torch.equal(model(waveforms)[0][-1], model(waveforms)[0][-1])

    def test_layers_are_skipped_in_training_mode_alone_and_as_often_as_asked(self) -> None:
        rates = {"projection": 0, "attention": 0, "feed_forward": 0, "hidden": 0, "layer": 0.3}
        model = random_model(small(dropout=rates)).train()
        waveforms = torch.randn(1, 800)
        counts = []
        for _ in range(200):
            states = model(waveforms)[0]
            counts += [torch.equal(states[index], states[index + 1]) for index in range(3)]
        assert sum(counts) / len(counts) == pytest.approx(0.3, abs=0.07)
        states = model.eval()(waveforms)[0]
        assert not any(torch.equal(states[index], states[index + 1]) for index in range(3))

    def test_its_three_steps_are_the_whole(self) -> None:
        model = random_model(small(layer_norm_first=True))
        waveforms, lengths = torch.randn(2, 4000), torch.tensor([4000, 2500])
        features, frame_lengths = model.extract(waveforms, lengths)
        valid = valid_frames(frame_lengths, features)
        steps = model.contextualise(model.project(features, valid), valid)
        for ours, whole in zip(steps, model(waveforms, lengths)[0], strict=True):
            assert torch.equal(ours, whole)

    def test_a_window_is_the_fewest_samples(self) -> None:
        config = small()
        assert config.window == 400
        assert (config.num_frames(config.window - 1), config.num_frames(config.window)) == (0, 1)


class TestShapeValidation:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"positional_groups": 5}, "positional_groups"),
            ({"architecture": "wavlm", "relative_position": None}, "relative_position"),
            ({"total_heads": 3}, "heads"),
            ({"surprise": 1}, "surprise"),
        ],
    )
    def test_what_does_not_fit_together(self, changes: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            UpstreamConfig.model_validate(small().model_dump() | changes)
