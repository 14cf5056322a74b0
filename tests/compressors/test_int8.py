"""int8 as a whole: which layers, of which teachers, on which devices."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.profiling import model_card
from bench.testing import tiny_teacher
from bench.upstream import UpstreamModel
from bench.upstream.config import ReducedLinear
from bench.upstream.pruning import prune
from bench.upstream.random_shapes import random_model
from compressors.int8 import Int8, Int8Config
from compressors.low_rank.compressor import LowRank
from compressors.size.calibration import CALIBRATION_AUDIO, RangeEstimator, calibration_batches, input_ranges
from compressors.size.linears import LinearGroup
from compressors.training.files import training_files

NO_AUDIO = AudioSource(root=Path("nowhere"))


def _compressed(teacher: UpstreamModel, *linears: LinearGroup) -> UpstreamModel:
    compressor = Int8(Int8Config(linears=linears) if linears else Int8Config())
    compressor.check(teacher, NO_AUDIO, Context())
    return compressor.compress(teacher, NO_AUDIO, Path("nowhere"), Context())["int8"]


def _last_state(model: UpstreamModel) -> torch.Tensor:
    with torch.no_grad():
        state: torch.Tensor = model(torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)) * 0.1)[0][-1]
    return state


class TestCompress:
    def test_quantises_all_linear_layers_without_any_audio(self) -> None:
        model = _compressed(tiny_teacher("wavlm"))
        assert dict(model.config.reduced_linears) == dict.fromkeys(
            model.config.linear_sizes, ReducedLinear(dtype="int8")
        )
        teacher = tiny_teacher("wavlm")
        assert 0 < (_last_state(model) - _last_state(teacher)).norm() < 0.1 * _last_state(teacher).norm()

    @pytest.mark.parametrize(("group", "count"), [("attention", 12), ("feed_forward", 6), ("projection", 1)])
    def test_quantises_some_groups(self, group: LinearGroup, count: int) -> None:
        reduced = _compressed(tiny_teacher(), group).config.reduced_linears
        assert len(reduced) == count
        assert all({"feed_forward": ".feed_forward."}.get(group, group) in path for path, _ in reduced)

    def test_removes_bytes_and_no_parameter(self) -> None:
        teacher = tiny_teacher()
        provenance = {"compressor": "int8", "teacher_params": model_card(teacher, {}).params, "recipe": {}}
        card = model_card(_compressed(teacher), provenance)
        assert (card.sparsity, card.target_sparsity) == (0.0, None)
        assert card.size_bytes < 0.6 * model_card(teacher, {}).size_bytes
        assert (card.macs, card.macs_superb) == (model_card(teacher, {}).macs, model_card(teacher, {}).macs_superb)


STATIC = Int8Config(activations="static", calibration_s=4)


class TestStatic:
    @pytest.mark.parametrize("ranges", ["mse", "minmax"])
    def test_quantises_with_a_range_per_layer(
        self, speech_folder: Path, tmp_path: Path, ranges: RangeEstimator
    ) -> None:
        teacher, audio = tiny_teacher("wavlm"), AudioSource(root=speech_folder)
        compressor = Int8(STATIC.model_copy(update={"ranges": ranges}))
        compressor.check(teacher, audio, Context())
        model = compressor.compress(teacher, audio, tmp_path, Context())["int8"]
        assert {each.activations for _, each in model.config.reduced_linears} == {"static"}
        assert len(model.config.reduced_linears) == len(model.config.linear_sizes)
        scales = {float(value) for key, value in model.state_dict().items() if key.endswith("input_scale")}
        assert len(scales) > 10
        assert 0 < (_last_state(model) - _last_state(teacher)).norm() < 0.1 * _last_state(teacher).norm()

    def test_needs_audio(self) -> None:
        with pytest.raises(UserError, match="nowhere"):
            Int8(STATIC).check(tiny_teacher(), NO_AUDIO, Context())
        with pytest.raises(UserError, match="nowhere"):
            Int8(STATIC).check_ahead(tiny_teacher(), NO_AUDIO, Context())

    def test_settings_of_the_calibration_are_stored_with_it_alone(self) -> None:
        assert Int8Config().model_dump().keys() == {"linears", "activations"}
        assert STATIC.model_dump().keys() == {"linears", "activations", "calibration_s", "ranges"}

    def test_uses_as_much_audio_as_asked_for(self, speech_folder: Path) -> None:
        files = training_files(AudioSource(root=speech_folder), CALIBRATION_AUDIO, 400)
        total = sum(file.duration_s for file in files)
        drawn = []
        for wanted in (1.0, 10 * total):
            batches = calibration_batches(files, wanted, 0)
            drawn.append(sum(batches[index].numel() for index in range(len(batches))) / 16_000)
        assert drawn[0] >= 1.0
        assert drawn[0] <= drawn[1] <= total


class TestRanges:
    """Of the inputs of one layer, whose values we choose."""

    @staticmethod
    def _range(inputs: torch.Tensor, estimator: RangeEstimator) -> tuple[float, float]:
        class Model(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = torch.nn.Linear(inputs.shape[-1], 1)

            def forward(self, waveforms: torch.Tensor) -> None:
                self.linear(waveforms)

        return input_ranges(Model(), ["linear"], [inputs[:1], inputs[1:]], estimator)["linear"]  # type: ignore[arg-type]

    def test_minmax_is_the_smallest_and_largest_of_all_batches(self) -> None:
        inputs = torch.tensor([[-3.0, 1.0], [0.5, 7.0]])
        assert self._range(inputs, "minmax") == (-3.0, 7.0)
        assert self._range(inputs.abs(), "minmax") == (0.0, 7.0)

    def test_mse_cuts_an_outlier_off_and_keeps_what_has_none(self) -> None:
        inputs = torch.randn(50, 2000, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
        low, high = self._range(inputs, "mse")
        assert low < -2.5
        assert high > 2.5
        inputs[3, 5] = 60.0
        low, high = self._range(inputs, "mse")
        assert low < -2.5
        assert 3.0 <= high < 60.0

    def test_inputs_that_are_all_zero_have_an_empty_range(self) -> None:
        assert self._range(torch.zeros(2, 5), "mse") == (0.0, 0.0)


class TestTeachers:
    def test_of_low_rank(self, speech_folder: Path, tmp_path: Path) -> None:
        audio = AudioSource(root=speech_folder)
        config = LowRank.presets["smoke"].model_copy(update={"recovery": None, "sparsity": 0.4})
        teacher = LowRank(config).compress(tiny_teacher(), audio, tmp_path, Context())["low-rank"]
        model = _compressed(teacher)
        before, after = dict(teacher.config.reduced_linears), dict(model.config.reduced_linears)
        assert {path: each.rank for path, each in before.items()}.items() <= {
            path: each.rank for path, each in after.items()
        }.items()
        assert {each.dtype for each in after.values()} == {"int8"}
        assert len(after) == len(model.config.linear_sizes) > 0
        assert (_last_state(model) - _last_state(teacher)).norm() < 0.1 * _last_state(teacher).norm()

    def test_that_are_pruned(self) -> None:
        masks = {"head/0": torch.zeros(4), "interm/1": torch.zeros(48), "conv/3": torch.arange(8) > 2}
        teacher = prune(random_model(tiny_teacher("wavlm").config), masks)
        model = _compressed(teacher)
        assert (_last_state(model) - _last_state(teacher)).norm() < 0.1 * _last_state(teacher).norm()

    def test_that_are_int8_already_are_refused(self) -> None:
        with pytest.raises(UserError, match=r"float32 among attention, feed_forward, projection\. Found none"):
            _compressed(_compressed(tiny_teacher()))

    def test_the_rest_of_a_teacher_follows(self) -> None:
        model = _compressed(_compressed(tiny_teacher(), "attention"))
        assert len(model.config.reduced_linears) == len(model.config.linear_sizes)


class TestDevices:
    def test_without_kernels_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Int8(Int8Config()).check(tiny_teacher(), NO_AUDIO, Context(device="cuda"))  # It quantises on the CPU.
        monkeypatch.setattr("torch._C._get_qengine", lambda: 0)
        with pytest.raises(UserError, match="Found none in this build of torch"):
            Int8(Int8Config()).check(tiny_teacher(), NO_AUDIO, Context())
