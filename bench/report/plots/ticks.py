"""Logarithmic axes with plainly written numbers."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator


def plain_log_scale(axes: Axes, low: float, high: float) -> None:
    """Make the horizontal axis logarithmic, with as many plain ticks around the values as fit."""
    axes.set_xscale("log")
    decades = math.log10(high / low)
    factors = (1, 2, 5) if decades < 1.6 else (1, 3) if decades < 2.5 else (1,)
    steps = [factor * 10.0**power for power in range(-9, 10) for factor in factors]
    axes.xaxis.set_major_locator(FixedLocator([step for step in steps if low / 2 <= step <= high * 2]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
