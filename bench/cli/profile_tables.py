"""Formats the output of ``bench profile``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench.audio.files import SAMPLE_RATE_HZ
from bench.sizes import size_text
from bench.store.latency import FEWEST_FOR_QUARTILES
from bench.terminal.printing import print_rows

if TYPE_CHECKING:
    from bench.profiling.counts import Counts
    from bench.profiling.layers import ComparedLayer, LayerComparison
    from bench.store.latency import LatencyRecord, Spread, Timing

BATCHES = {"batch_8": "8 x 5 s", "batch_32": "32 x 5 s"}
SLOWER = 0.8
"""A layer is marked if its speed-up is less than this share of the speed-up that its MACs predict."""


def as_json(
    counts: Sequence[Counts],
    records: Sequence[LatencyRecord],
    layers: Mapping[str, LayerComparison],
    price_per_hour: float | None,
    teacher: Counts | None = None,
) -> list[dict[str, Any]]:
    """Return one object per model. Measurements that were not requested are absent."""
    found = []
    for row, record in zip_longest(counts, records):
        values = row.model_dump(mode="json")
        if teacher is not None:
            values["of_teacher"] = {"teacher": teacher.model, **_shares(row, teacher)}
        if record is not None:
            values["latency"] = record.model_dump(mode="json", exclude={"model", "row"}, exclude_none=True)
            if price_per_hour is not None:
                values["cost_of_1000_hours"] = {
                    name: timing.cost_of_1000_hours(price_per_hour) for name, timing in record.timings.items()
                }
        if row.model in layers:
            values["by_layer"] = layers[row.model].model_dump(mode="json", exclude={"model"}, exclude_none=True)
        found.append(values)
    return found


def print_tables(
    counts: Sequence[Counts],
    records: Sequence[LatencyRecord],
    layers: Mapping[str, LayerComparison],
    price_per_hour: float | None,
    teacher: Counts | None = None,
) -> None:
    """Print tables for people."""
    print_rows([_parameters(row) for row in counts], "parameters (millions)")
    print_rows([_macs(row) for row in counts], "MACs (billions) over SUPERB's 32 utterances")
    if teacher is not None:
        print_rows([_shares_for_the_eye(row, teacher) for row in counts], f"shares of {teacher.model}, in percent")
    if records:
        rows = [_latency(record, timing, price_per_hour) for record in records for timing in record.timings.values()]
        print_rows(_without_empty_columns(rows), _latency_title(records[0]))
    for comparison in layers.values():
        rows = [_layer(layer) for layer in comparison.layers]
        versus = f", next to its teacher {comparison.teacher}" if comparison.teacher else ""
        print_rows(_without_empty_columns(rows), f"{comparison.model} by layer{versus}; CPU, 1 thread, one pass")


def _parameters(row: Counts) -> dict[str, str]:
    return {
        "model": row.model,
        "total": _millions(row.params),
        "trainable": _millions(row.params_trainable),
        **{part.replace("_", "-"): _millions(count) for part, count in row.params_by_part.items()},
        "size": size_text(row.size_bytes),
    }


def _macs(row: Counts) -> dict[str, str]:
    return {
        "model": row.model,
        "MACs": _billions(row.macs),
        "MACs (SUPERB)": "" if row.macs_superb is None else _billions(row.macs_superb),
        **{bucket: _billions(macs) for bucket, macs in row.macs_buckets.items()},
        "a second of audio": _billions(row.macs_per_audio_s),
    }


def _shares(row: Counts, teacher: Counts) -> dict[str, float | None]:
    """Divide a model's figures by its teacher's. None if the teacher has no such figure, as with filter banks."""
    figures = {name: (getattr(row, name), getattr(teacher, name)) for name in ("params", "size_bytes", "macs")}
    return {name: own / others if others else None for name, (own, others) in figures.items()}


def _shares_for_the_eye(row: Counts, teacher: Counts) -> dict[str, str]:
    titles = {"params": "parameters", "size_bytes": "size", "macs": "MACs"}
    shares = {
        titles[name]: "" if share is None else f"{100 * share:.2f}" for name, share in _shares(row, teacher).items()
    }
    return {"model": row.model, **shares}


def _latency(record: LatencyRecord, timing: Timing, price_per_hour: float | None) -> dict[str, str]:
    cost = None if price_per_hour is None else timing.cost_of_1000_hours(price_per_hour)
    return {
        "model": record.model,
        "device": "GPU" if timing.device == "cuda" else "CPU",
        "threads": "" if timing.device == "cuda" else str(timing.num_threads),
        "dtype": timing.dtype or "",
        "repeats": str(timing.rtf.repeats),
        "RTF": _spread(timing.rtf),
        **{f"{bucket} (ms)": _figure(spread.median) for bucket, spread in timing.latency_ms.items()},
        **{title: _median(timing.throughput.get(batch)) for batch, title in BATCHES.items()},
        "first call (ms)": _figure(timing.first_call_ms),
        "peak memory": "" if timing.peak_memory_bytes is None else size_text(timing.peak_memory_bytes),
        "speed-up": _spread(timing.speedup),
        "J a second of audio": _figure(timing.joules_per_audio_s),
        "1,000 h cost": _figure(cost),
    }


def _layer(compared: ComparedLayer) -> dict[str, str]:
    promised, measured = compared.promised_speedup, compared.measured_speedup
    is_slower = promised is not None and measured is not None and measured < SLOWER * promised
    model, teacher = compared.model, compared.teacher
    return {
        "layer": compared.layer,
        "params (K)": "" if model is None else f"{model.params / 1e3:.1f}",
        "teacher's": "" if teacher is None else f"{teacher.params / 1e3:.1f}",
        "MACs (M)": "" if model is None else f"{model.macs / 1e6:.1f}",
        "the teacher's": "" if teacher is None else f"{teacher.macs / 1e6:.1f}",
        "ms": "" if model is None else _figure(model.ms.median),
        "teacher's ms": "" if teacher is None else _figure(teacher.ms.median),
        "promised": "" if promised is None else f"{promised:.2f} x",
        "measured": "" if measured is None else f"{measured:.2f} x",
        "remark": "removed" if model is None else "slower than its MACs promise" if is_slower else "",
    }


def _without_empty_columns(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    filled = [column for column in rows[0] if any(row[column] for row in rows)]
    return [{column: row[column] for column in filled} for row in rows]


def _latency_title(record: LatencyRecord) -> str:
    mean_s = {bucket: fmean(lengths) / SAMPLE_RATE_HZ for bucket, lengths in record.lengths_samples.items()}
    lengths = ", ".join(f"{bucket} {seconds:.1f} s" for bucket, seconds in mean_s.items())
    return f"latency at batch 1 ({lengths}), and batches in seconds of audio a second; medians (quartiles)"


def _median(spread: Spread | None) -> str:
    return "" if spread is None else _figure(spread.median)


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.repeats < FEWEST_FOR_QUARTILES:
        return _figure(spread.median)
    return f"{_figure(spread.median)} ({_figure(spread.low)}-{_figure(spread.high)})"


def _figure(value: float | None) -> str:
    """Write three significant digits without an exponent."""
    if value is None:
        return ""
    decimals = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f}"


def _billions(count: float) -> str:
    # Filter banks take about 2 million per second.
    return f"{count / 1e9:,.2f}" if count >= 1e8 or not count else f"{count / 1e9:.4f}"
