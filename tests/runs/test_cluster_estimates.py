"""The tables of docs/reference/estimates.md are those that `benchmarks/cluster_estimates.py` prints."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.upstream.random_shapes import SHAPES
from benchmarks import cluster_estimates
from benchmarks.cluster_estimates import activation_bytes_a_second, figure, sizes_of
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def page() -> str:
    return (REPOSITORY / "docs" / "reference" / "estimates.md").read_text(encoding="utf-8")


def test_the_page_has_the_tables(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    cluster_estimates.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(rows) > 40
    assert [row for row in rows if row not in page.splitlines()] == []


def test_hours_follow_the_throughput() -> None:
    (slow, *_), (fast, *_) = (list(cluster_estimates.evaluation_rows(tflops, "s3prl")) for tflops in (1.0, 10.0))
    assert slow[0] == fast[0] == "asr"
    # 200,000 steps of 2 x 16 utterances of 12.7 s, and about 7 GMACs per second of speech.
    assert float(slow[3]) == pytest.approx(10 * float(fast[3]), rel=0.05)


def test_kept_tensors_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A linear layer keeps its input, which is float32, and not its weight."""

    class Upstream(nn.Module):
        def __init__(self, _shape: object) -> None:
            super().__init__()
            self.linear = nn.Linear(160, 3)

        def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            hidden = waveforms.view(-1, 160) * 2
            return self.linear(hidden) if len(lengths) else hidden

    monkeypatch.setattr(cluster_estimates, "UpstreamModel", Upstream)
    counted = activation_bytes_a_second.__wrapped__(SHAPES["mini-hubert"])
    assert counted == 16_000 * 4


def test_sessions_are_five() -> None:
    assert sum(size.num_utterances for size in sizes_of("er").values()) == 5_531


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234"), (45.6, "46"), (0.123, "0.12"), (7.0, "7")])
def test_figures(value: float, text: str) -> None:
    assert figure(value) == text
