"""Latency records with made-up times."""

from __future__ import annotations

from bench.store.latency import LatencyRecord, Machine, Spread, Timing


def spread(median: float) -> Spread:
    return Spread(median=median, low=median, high=median, repeats=3)


def timing(rtf: float, device: str = "cpu", **changes: object) -> Timing:
    values = {
        "device": device,
        "num_threads": 1,
        "rtf": spread(rtf),
        "latency_ms": {
            bucket: spread(1000 * rtf * s) for s, bucket in enumerate(("short", "medium", "long", "longer"), 1)
        },
        "throughput": {"batch_8": spread(2 / rtf), "batch_32": spread(1.5 / rtf)},
        "first_call_ms": 9.0,
        "peak_memory_bytes": 50_000_000,
        "speedup": spread(2.0),
    }
    return Timing.model_validate(values | changes)


def record(model: str, row: str, cpu: Timing, gpu: Timing | None = None, name: str = "c") -> LatencyRecord:
    machine = Machine(cpu=name, num_cores=1, torch="2", system="Linux")
    lengths = {"short": (42_560,)}
    return LatencyRecord(
        model=model, row=row, measured="now", machine=machine, lengths_samples=lengths, cpu=cpu, gpu=gpu
    )
