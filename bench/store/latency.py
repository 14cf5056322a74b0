"""Measured latency of a run's models: one JSON file per model in ``DIR/latency``, from ``bench profile --run``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field

from bench.contracts import Settings
from bench.contracts.names import Name
from bench.errors import UserError
from bench.files.atomic import write_atomically
from bench.store.inside import inside
from bench.store.reading import Finite, read_json_as

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

FOLDER = "latency"

FEWEST_FOR_QUARTILES = 5
"""Fewest repeats for quartiles; with less, quartiles describe no spread."""

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
"""Columns of the leaderboard for measured models: on the CPU with one thread, and with prefix ``gpu_`` on the GPU."""

MEASURED_ON = "measured_on"
"""Column of the leaderboard: the machine that these figures were measured on."""


class Spread(Settings):
    """Statistics over the repeats of one measurement."""

    median: Positive
    """Median of the repeats."""
    low: Positive
    """First quartile."""
    high: Positive
    """Third quartile."""
    repeats: int = Field(ge=1)
    """Number of repeats, after a warm-up."""


class Timing(Settings):
    """Times of one model on one device; audio at 16 kHz in float32.

    On the CPU with one thread, seconds are that thread's processor time, which equals the time on an idle core.
    Otherwise they are wall-clock time.
    """

    device: Literal["cpu", "cuda"]
    """The device."""
    num_threads: int
    """Number of threads on the CPU."""
    dtype: Literal["float32", "int8"] | None = None
    """Type of the linear layers' weights. Absent in records of earlier versions."""
    engine: str = "torch"
    """What ran the model: ``torch``, or ``onnxruntime`` with its version."""
    rtf: Spread
    """Real-time factor: computing seconds per second of audio, at batch 1, over all timed lengths. Lower is faster."""
    latency_ms: dict[str, Spread]
    """Milliseconds per utterance at batch 1, by SUPERB's bucket: ``short``, ``medium``, ``long`` and ``longer``."""
    throughput: dict[str, Spread] = Field(default_factory=dict)
    """Seconds of audio per second, in batches of 5 s clips: ``batch_8``, ``batch_32``. A batch size is absent if it
    would have taken too long.
    """
    first_call_ms: Positive
    """Time of the very first call on this device, which sets up kernels, on the shortest timed length."""
    peak_memory_bytes: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    """Peak memory of the weights and one forward pass on the longest timed length. On the CPU, measured by the kernel
    in a process that has run the model before; on the GPU, by torch's allocator. Absent if the system does not report
    it.
    """
    speedup: Spread | None = None
    """How many times faster than the teacher at batch 1, over all timed lengths: one ratio per repeat, of alternating
    calls. Absent without a teacher.
    """
    joules_per_audio_s: Finite | None = None
    """Energy of the processor package (CPU) or of the card, per second of audio at batch 1. Absent if the machine's
    counters cannot be read.
    """

    def cost_of_1000_hours(self, price_per_hour: float) -> float:
        """Return the cost of 1,000 hours of audio in the fastest way that was measured.

        Args:
            price_per_hour: of the whole machine; the result is in the same currency.
        """
        audio_s_per_s = max(1 / self.rtf.median, *(spread.median for spread in self.throughput.values()), 0)
        return 1000 * price_per_hour / audio_s_per_s


class Machine(Settings):
    """The machine of a measurement."""

    cpu: str
    """The processor's name, as the system reports it."""
    num_cores: int
    """Number of cores that the process may use."""
    gpu: str | None = None
    """The card's name."""
    torch: str
    """torch's version."""
    system: str
    """Operating system and its release."""
    load: Finite | None = None
    """Load per core in the minute before: about 0 on an idle machine. Absent if the system does not report it."""

    @property
    def title(self) -> str:
        """The hardware and software that decide how fast a model is."""
        card = f", {self.gpu}" if self.gpu else ""
        return f"{self.cpu}{card}, torch {self.torch}"


class LatencyRecord(Settings):
    """The measured latency of one model."""

    schema_version: int = 1
    """Version of this file's format."""
    model: str
    """Name of the weights' folder in ``models``; the row's name for a model given by reference; outside of runs, the
    reference."""
    row: str
    """Row of the leaderboard; models of a sweep's seeds share one. Outside of runs, the reference."""
    teacher: str | None = None
    """Reference of the model that was timed in alternation with this one."""
    measured: str
    """Time of the measurement, in UTC."""
    machine: Machine
    """Where it was measured."""
    lengths_samples: dict[str, tuple[int, ...]]
    """The timed utterance lengths, by bucket: some of SUPERB's 32."""
    repeats: int | None = None
    """The value of ``--repeats``; None for as many as time allowed."""
    cpu: Timing
    """On the CPU with one thread."""
    cpu_all_threads: Timing | None = None
    """On the CPU with one thread per core; absent if there is only one core."""
    gpu: Timing | None = None
    """On the GPU, if there is one."""

    @property
    def measured_on(self) -> str:
        """The machine, and the audio if not one length per bucket; figures that differ in these cannot be ranked."""
        one_a_bucket = all(len(lengths) == 1 for lengths in self.lengths_samples.values())
        return self.machine.title if one_a_bucket else f"{self.machine.title}, all lengths"

    @property
    def timings(self) -> dict[str, Timing]:
        """All measured sections, by field."""
        sections = {"cpu": self.cpu, "cpu_all_threads": self.cpu_all_threads, "gpu": self.gpu}
        return {name: timing for name, timing in sections.items() if timing is not None}


class _Stored(LatencyRecord):
    """A record in a run's folder: its names are parts of paths and cells of tables."""

    model: Name
    row: Name


def latency_path(run_folder: Path, model: str) -> Path:
    """Return the path of a model's latency record."""
    return inside(run_folder, FOLDER, f"{model}.json")


def write_latency(run_folder: Path, record: LatencyRecord) -> Path:
    """Write a model's latency, replacing an older one; return the file."""
    path = latency_path(run_folder, record.model)
    write_atomically(path, record.model_dump_json(indent=1) + "\n")
    return path


def read_latencies(run_folder: Path) -> dict[str, list[LatencyRecord]]:
    """Read the measurements of a run's models.

    Returns:
        Row of the leaderboard to its records: one, or in a sweep one per seed. Rows that were not measured are absent.

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
    """Compute what the leaderboard shows for every row: means over its records of the measured medians.

    All figures of a row come from one machine. If there are several, it is the one that measured most of the row's
    records; among equals the one that measured most rows, then the latest.

    Args:
        latencies: from `read_latencies`.

    Returns:
        Row to `MEASURED_ON` and those of `COLUMNS`, also with prefix ``gpu_``, that were measured for every record.
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
    record = read_json_as(_Stored, path, "a model's latency", remedy)
    if record.model != path.stem:
        raise UserError(f"Expected the latency of another model in {path}. Found that of {record.model}. {remedy}")
    return record
