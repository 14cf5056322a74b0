"""Energy counters of the machine, if they are readable. Nothing is estimated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Counter:
    """A counter of joules that only grows, until it wraps around."""

    read_joules: Callable[[], float]
    range_joules: float = float("inf")
    """The counter wraps around to 0 after this many joules."""

    def since(self, before_joules: float) -> float:
        """Return the joules used since an earlier reading, less than one range ago."""
        used = self.read_joules() - before_joules
        return used if used >= 0 else used + self.range_joules


def cpu_counters(powercap: Path = POWERCAP) -> list[Counter]:
    """Find the processor packages' counters. Empty if there are none or the user may not read them.

    Source: Linux's powercap interface (``Documentation/power/powercap``): RAPL's zones ``intel-rapl:<package>``, which
    AMD's processors have too.
    """
    return [_package(zone) for zone in sorted(powercap.glob("intel-rapl:*")) if _is_package(zone)]


def gpu_counters() -> list[Counter]:
    """Find the first GPU's counter. Empty without the package ``nvidia-ml-py``, or if the GPU has none."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(card)
    except pynvml.NVMLError:
        return []
    return [Counter(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(card) / 1e3)]


def _is_package(zone: Path) -> bool:
    try:
        # Parts of a package, `intel-rapl:0:1`, are separate zones included in it; `psys` is the whole machine.
        return zone.name.count(":") == 1 and _text(zone / "name").startswith("package") and _is_readable(zone)
    except OSError:
        return False


def _is_readable(zone: Path) -> bool:
    return bool(_text(zone / "energy_uj"))


def _package(zone: Path) -> Counter:
    return Counter(
        lambda: int(_text(zone / "energy_uj")) / 1e6, range_joules=int(_text(zone / "max_energy_range_uj")) / 1e6
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()
