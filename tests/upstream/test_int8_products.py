"""int8 layers on devices without integer kernels compute what torch's kernels do. Here both run on the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.testing import tiny_teacher
from bench.upstream import UpstreamModel, load_upstream
from bench.upstream.int8_products import int8_products, rounded_inputs, step_and_zero_point
from bench.upstream.reduced_linears import WEIGHT_LEVELS, Int8Linear, quantised_weight
from bench.upstream.reduction import quantised

LEVELS = 255 if torch.backends.quantized.engine == "qnnpack" else 127


def _random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def _layer(*, bias: bool = True) -> Int8Linear:
    layer = Int8Linear(300, 48, bias=bias)
    weight, scale = quantised_weight(_random(48, 300) * torch.logspace(-3, 1, 48)[:, None])
    layer.load_state_dict({"weight": weight, "scale": scale} | ({"bias": torch.arange(48.0)} if bias else {}))
    return layer


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr("bench.upstream.reduced_linears.has_int8_kernels", lambda device: False)
    return monkeypatch


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "inputs",
    [
        _random(2, 7, 300),
        _random(5, 300) * 1e3 + 500.0,
        _random(5, 300).abs(),
        -_random(5, 300).abs(),
        _random(5, 300) * 1e-4,
        _random(5, 300) * 1e-7 + 1e-7,
        torch.zeros(3, 300),
        _random(5, 300) * 1e-42,
    ],
    ids=["normal", "shifted", "positive", "negative", "small", "smaller-than-a-step", "zeros", "denormal"],
)
def test_equals_the_kernels(inputs: Tensor, bias: bool) -> None:
    layer = _layer(bias=bias)
    expected = layer(inputs)
    found = int8_products(inputs, layer.weight, layer.scale, layer.bias, LEVELS)
    # A sum of integers is exact in both; its scaling and the bias are rounded.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.detach().abs().max()) + 1e-30)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "inputs",
    [_random(2, 7, 300), _random(5, 300) * 1e3 + 500.0, _random(5, 300) * 1e-4, torch.zeros(3, 300)],
    ids=["normal", "mostly-clipped", "small", "zeros"],
)
def test_static_products_equal_the_kernels(inputs: Tensor, bias: bool, without_kernels: pytest.MonkeyPatch) -> None:
    layer = Int8Linear(300, 48, bias=bias, is_static=True)
    weight, scale = quantised_weight(_random(48, 300), WEIGHT_LEVELS["static"])
    step, zero_point = step_and_zero_point(-2.0, 3.3)
    state = {"weight": weight, "scale": scale, "input_scale": step, "input_zero_point": zero_point}
    layer.load_state_dict(state | ({"bias": torch.arange(48.0)} if bias else {}))
    elsewhere = layer(inputs)
    without_kernels.undo()
    expected = layer(inputs)
    torch.testing.assert_close(elsewhere, expected, rtol=1e-5, atol=1e-4 * float(expected.detach().abs().max()) + 1e-30)


@pytest.mark.parametrize("step", [0.0, -1.0, 1e-45])
def test_a_step_that_no_range_has_is_raised(step: float) -> None:
    layer = Int8Linear(8, 4, bias=True, is_static=True)
    layer.input_scale.fill_(step)
    assert layer(torch.randn(2, 8)).isfinite().all()


@pytest.mark.parametrize(
    ("low", "high", "zero_point"), [(-1.0, 1.0, 128), (0.0, 5.0, 0), (2.0, 5.0, 0), (-5.0, -1.0, 255), (0.0, 0.0, 0)]
)
def test_a_range_holds_zero_exactly(low: float, high: float, zero_point: int) -> None:
    step, found = step_and_zero_point(low, high)
    assert (int(found), found.dtype) == (zero_point, torch.uint8)
    assert step > 0
    assert float(step) * 255 >= max(high, 0.0) - min(low, 0.0) - 1e-6


def test_inputs_become_integers_that_meet_both_ends() -> None:
    inputs = _random(50, 20) + 0.3
    integers, step = rounded_inputs(inputs, 127)
    assert torch.equal(integers, integers.round())
    assert float(integers.max() - integers.min()) in (126.0, 127.0, 128.0)
    assert ((integers * step - inputs).abs() <= 0.5001 * step).all()
    # Such integers are exact in bf16, and so in TF32 and fp16.
    assert torch.equal(integers.bfloat16().float(), integers)


def test_one_step_serves_all_inputs_of_a_call() -> None:
    inputs = torch.stack([_random(300), 100 * _random(300, seed=1)])
    layer = _layer()
    both, alone = (int8_products(each, layer.weight, layer.scale, None, LEVELS) for each in (inputs, inputs[:1]))
    assert not torch.allclose(both[0], alone[0], rtol=0.1)


def test_nan_stays_nan() -> None:
    inputs = torch.tensor([[1.0, float("nan")]])
    assert int8_products(inputs, torch.ones(1, 2, dtype=torch.int8), torch.ones(1), None, 127).isnan().all()


def test_under_autocast_it_computes_in_float32() -> None:
    layer, inputs = _layer(), _random(4, 300)
    expected = int8_products(inputs, layer.weight, layer.scale, layer.bias, LEVELS)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(int8_products(inputs, layer.weight, layer.scale, layer.bias, LEVELS), expected)


@pytest.mark.parametrize("name", ["mini-hubert", "wavlm"])
def test_a_whole_model_equals_the_kernels(name: str, without_kernels: pytest.MonkeyPatch) -> None:
    dense = load_upstream(name) if name == "mini-hubert" else tiny_teacher(name)
    assert isinstance(dense, UpstreamModel)
    model = quantised(dense, list(dense.config.linear_sizes)).eval()
    waveforms = 0.1 * _random(1, 16_000)
    with torch.inference_mode():
        elsewhere = model(waveforms)[0]
        without_kernels.undo()
        here, exact = model(waveforms)[0], dense(waveforms)[0]
    for ours, theirs, original in zip(elsewhere, here, exact, strict=True):
        # An input at the border of two integers may be rounded the other way, and later layers spread that.
        assert (ours - theirs).norm() < 0.7 * (theirs - original).norm()
    assert (elsewhere[0] - here[0]).norm() < 1e-4 * here[0].norm()


def test_it_reads_no_value_of_the_device() -> None:
    """Reading a value of the meta device raises; on a GPU, it would wait for all work so far."""
    integers, step = rounded_inputs(torch.empty(2, 3, 300, device="meta"), 127)
    assert (integers.shape, step.shape) == ((2, 3, 300), ())
