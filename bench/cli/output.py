"""Formats tables of models and leaderboards for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.reports.tables.leaderboards import Group


def signed_percent(fraction: float) -> str:
    """Write a difference in percent, with its sign. Values that round to zero have no minus."""
    return f"{round(100 * fraction, 2) + 0.0:+.2f}"


def model_rows(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Format compression's results for people, in the leaderboard's units."""
    return [
        {
            "model": model["model"],
            "params (M)": f"{model['params'] / 1e6:.2f}",
            "MACs (G)": f"{model['macs'] / 1e9:.1f}",
            "sparsity (%)": f"{100 * model['sparsity']:.1f}",
        }
        for model in models
    ]


def print_groups(groups: Sequence[Group]) -> None:
    """Print tables of scores, each with its notes."""
    from bench.terminal.printing import print_rows
    from bench.terminal.streams import print_line

    for group in groups:
        print_rows(group.texts(), group.heading, group.sizes)
        for note in group.notes:
            print_line(note)
