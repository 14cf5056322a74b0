"""Energy counters, on a folder that looks like Linux's."""

from __future__ import annotations

from pathlib import Path

from bench.profiling.energy import Counter, cpu_counters


def zone(powercap: Path, folder: str, name: str, microjoules: int | None) -> None:
    path = powercap / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text("10000000\n")
    if microjoules is not None:
        (path / "energy_uj").write_text(f"{microjoules}\n")


def test_packages_are_read_and_their_parts_are_not(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 2_500_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1_000_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 1_000_000)
    zone(tmp_path, "intel-rapl:2", "psys", 9_000_000)
    assert [counter.read_joules() for counter in cpu_counters(tmp_path)] == [2.5, 1.0]


def test_what_cannot_be_read_is_absent(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", None)
    assert cpu_counters(tmp_path) == []
    assert cpu_counters(tmp_path / "none") == []


def test_a_counter_that_began_anew(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 500_000)
    (counter,) = cpu_counters(tmp_path)
    assert counter.since(9.0) == 1.5
    assert Counter(lambda: 7.0).since(5.0) == 2.0
