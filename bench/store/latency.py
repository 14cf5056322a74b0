"""Measured latency of a run's models: one JSON file a model in ``DIR/latency``, written by ``bench profile --run``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field

from bench.contracts import Settings
from bench.errors import UserError
from bench.files.atomic import write_atomically
from bench.store.names import Name, inside
from bench.store.reading import Finite, read_json_as

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

FOLDER = "latency"

FEWEST_FOR_QUARTILES = 5
"""Repeats; quartiles of fewer describe no spread."""

COLUMNS = (
    "rtf",
    "latency_ms_short",
    "latency_ms_medium",
    "latency_ms_long",
    "latency_ms_longer",
    "throughput_batch_8",
    "throughput_batch_32",
    "peak_memory_mb",
    "speedup",
)
"""Of the leaderboard, where they were measured: on the CPU with one thread; ``gpu_`` before them for the GPU's."""

MEASURED_ON = "measured_on"
"""Column of the leaderboard: the machine that these figures are of."""


class Spread(Settings):
    """What repeats of one measurement gave."""

    median: Positive
    """Of the repeats."""
    low: Positive
    """Their first quartile."""
    high: Positive
    """Their third quartile."""
    repeats: int = Field(ge=1)
    """How many there were, after a warm-up."""


class Timing(Settings):
    """What one model took on one device; audio at 16 kHz, float32.

    On the CPU with one thread, seconds are that thread's processor time, which is what an idle core takes; elsewhere
    they are those of the day.
    """

    device: Literal["cpu", "cuda"]
    """Where it ran."""
    num_threads: int
    """Of torch, on the CPU."""
    rtf: Spread
    """Real-time factor: seconds of computing a second of audio, at batch 1, over all lengths timed. Lower is faster."""
    latency_ms: dict[str, Spread]
    """Milliseconds of an utterance at batch 1, by SUPERB's bucket: ``short``, ``medium``, ``long`` and ``longer``."""
    throughput: dict[str, Spread] = Field(default_factory=dict)
    """Seconds of audio a second, in batches of 5 s clips: ``batch_8``, ``batch_32``. One that would have taken too
    long is absent."""
    first_call_ms: Positive
    """The first call of all on this device, which sets up kernels, on the shortest length timed."""
    peak_memory_bytes: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    """What the weights and one forward pass on the longest length timed occupy together, at most: by the kernel's
    account of a process that has run the model before (CPU), by torch's allocator (GPU). Absent where the system keeps
    no such account."""
    speedup: Spread | None = None
    """How many times faster than the teacher at batch 1, over all lengths timed: of the ratios of calls made in turn,
    one a repeat. Absent where there is no teacher."""
    joules_per_audio_s: Finite | None = None
    """Energy of the processor package (CPU) or of the card, a second of audio at batch 1. Absent where the machine's
    counters cannot be read."""

    def cost_of_1000_hours(self, price_per_hour: float) -> float:
        """Tell what 1,000 hours of audio cost in the fastest of the ways that were measured.

        Args:
            price_per_hour: of the whole machine; the result has the same currency.
        """
        audio_s_per_s = max(1 / self.rtf.median, *(spread.median for spread in self.throughput.values()), 0)
        return 1000 * price_per_hour / audio_s_per_s


class Machine(Settings):
    """Where a measurement was made."""

    cpu: str
    """The processor's name, as the system tells it."""
    num_cores: int
    """That the process may use."""
    gpu: str | None = None
    """The card's name."""
    torch: str
    """torch's version."""
    system: str
    """Operating system and its release."""
    load: Finite | None = None
    """Of the minute before, a core: about 0 where the machine was idle. Absent where the system does not tell."""

    @property
    def title(self) -> str:
        """What of it decides how fast a model is."""
        card = f", {self.gpu}" if self.gpu else ""
        return f"{self.cpu}{card}, torch {self.torch}"


class LatencyRecord(Settings):
    """The measured latency of one model."""

    schema_version: int = 1
    """Of this file."""
    model: Name
    """Name of the weights' folder in ``models``; the row's where it is a reference."""
    row: Name
    """Of the leaderboard; models of a sweep's seeds share one."""
    teacher: str | None = None
    """Reference of the model that was timed in turn with this one."""
    measured: str
    """When, in UTC."""
    machine: Machine
    """Where."""
    lengths_samples: dict[str, tuple[int, ...]]
    """The utterance lengths timed, by bucket: some of SUPERB's 32."""
    repeats: int | None = None
    """What ``--repeats`` asked for; None for as many as there was time for."""
    cpu: Timing
    """On the CPU with one thread."""
    cpu_all_threads: Timing | None = None
    """On the CPU with a thread a core; absent where there is one core."""
    gpu: Timing | None = None
    """On the GPU, where there is one."""

    @property
    def measured_on(self) -> str:
        """The machine, and which audio where that is not one length a bucket: figures of others cannot be ranked."""
        one_a_bucket = all(len(lengths) == 1 for lengths in self.lengths_samples.values())
        return self.machine.title if one_a_bucket else f"{self.machine.title}, all lengths"

    @property
    def timings(self) -> dict[str, Timing]:
        """All sections that were measured, by field."""
        sections = {"cpu": self.cpu, "cpu_all_threads": self.cpu_all_threads, "gpu": self.gpu}
        return {name: timing for name, timing in sections.items() if timing is not None}


def latency_path(run_folder: Path, model: str) -> Path:
    """Where a model's latency is kept."""
    return inside(run_folder, FOLDER, f"{model}.json")


def write_latency(run_folder: Path, record: LatencyRecord) -> Path:
    """Keep a model's latency, in place of an older one; return the file."""
    path = latency_path(run_folder, record.model)
    write_atomically(path, record.model_dump_json(indent=1) + "\n")
    return path


def read_latencies(run_folder: Path) -> dict[str, list[LatencyRecord]]:
    """Read what was measured of a run's models.

    Returns:
        Row of the leaderboard to its records: one, or in a sweep one a seed. Rows that were not measured are absent.

    Raises:
        UserError: a file is torn or of another version.
    """
    records: dict[str, list[LatencyRecord]] = {}
    for path in sorted((run_folder / FOLDER).glob("*.json")):
        if path.name.startswith("."):
            continue
        record = _read(path)
        records.setdefault(record.row, []).append(record)
    return records


def latency_columns(latencies: Mapping[str, Sequence[LatencyRecord]]) -> dict[str, dict[str, float | str]]:
    """Say what the leaderboard shows of every row: means over its records of the medians measured.

    A row's figures are all of one machine. Of several it is the one that measured most of the row's records; of
    equal ones that which measured most rows, then the latest.

    Args:
        latencies: as `read_latencies` returns them.

    Returns:
        Row to `MEASURED_ON` and those of `COLUMNS`, and with ``gpu_`` before them, that were measured for every record.
    """
    machines = Counter(machine for records in latencies.values() for machine in {one.measured_on for one in records})
    return {row: _means(_of_one_machine(records, machines)) for row, records in latencies.items() if records}


def _of_one_machine(records: Sequence[LatencyRecord], machines: Mapping[str, int]) -> list[LatencyRecord]:
    by_machine: dict[str, list[LatencyRecord]] = {}
    for record in records:
        by_machine.setdefault(record.measured_on, []).append(record)
    return max(
        by_machine.values(),
        key=lambda found: (len(found), machines[found[0].measured_on], max(one.measured for one in found)),
    )


def _means(records: Sequence[LatencyRecord]) -> dict[str, float | str]:
    found = [_columns(record) for record in records]
    shared = [name for name in found[0] if all(name in columns for columns in found)]
    means = {name: fmean(columns[name] for columns in found) for name in shared}
    return {MEASURED_ON: records[0].measured_on, **means}


def _columns(record: LatencyRecord) -> dict[str, float]:
    gpu = {} if record.gpu is None else {f"gpu_{name}": value for name, value in _timing_columns(record.gpu).items()}
    return {**_timing_columns(record.cpu), **gpu}


def _timing_columns(timing: Timing) -> dict[str, float]:
    values: Mapping[str, float | None] = {
        "rtf": timing.rtf.median,
        **{f"latency_ms_{bucket}": spread.median for bucket, spread in timing.latency_ms.items()},
        **{f"throughput_{batch}": spread.median for batch, spread in timing.throughput.items()},
        "peak_memory_mb": None if timing.peak_memory_bytes is None else timing.peak_memory_bytes / 1e6,
        "speedup": None if timing.speedup is None else timing.speedup.median,
    }
    return {name: values[name] for name in COLUMNS if values.get(name) is not None}  # type: ignore[misc]


def _read(path: Path) -> LatencyRecord:
    remedy = "Delete it, and run bench profile --run --latency again."
    record = read_json_as(LatencyRecord, path, "a model's latency", remedy)
    if record.model != path.stem:
        raise UserError(f"Expected the latency of another model in {path}. Found that of {record.model}. {remedy}")
    return record
