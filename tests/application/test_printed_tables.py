"""Tables on the screen."""

from __future__ import annotations

import pytest

from bench.cli.output import model_rows, print_rows, signed_percent


def test_figures_are_aligned_by_their_last_digit(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"model": "one", "MACs": "1,665.52", "gain": "+6.10"}, {"model": "three", "MACs": "0.48", "gain": ""}])
    lines = [line for line in capsys.readouterr().out.splitlines() if "one" in line or "three" in line]
    assert [line.split("│")[1] for line in lines] == [" one   ", " three "]
    assert [line.split("│")[2] for line in lines] == [" 1,665.52 ", "     0.48 "]


@pytest.mark.parametrize(("fraction", "text"), [(0.0609, "+6.09"), (-0.05, "-5.00"), (-1e-9, "+0.00"), (-0.0, "+0.00")])
def test_a_difference_that_rounds_to_zero_has_no_minus(fraction: float, text: str) -> None:
    assert signed_percent(fraction) == text


def test_compressed_models_have_the_leaderboards_units() -> None:
    model = {"model": "small", "params": 982_497, "sparsity": 0.6, "macs": 27_682_209_128}
    assert model_rows([model]) == [{"model": "small", "params (M)": "0.98", "MACs (G)": "27.7", "sparsity": "0.600"}]
