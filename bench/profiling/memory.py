"""Peak memory of a model: its weights and one forward pass."""

from __future__ import annotations

import ctypes
import gc
import re
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from bench.errors import UserError
from bench.profiling.models import load_model
from bench.profiling.timing import threads
from bench.upstream import AnyUpstream

WARM_UP_SAMPLES = 16_000
_STATUS = Path("/proc/self/status")
_CLEAR_PEAK = Path("/proc/self/clear_refs")


def cpu_peak_memory_bytes(reference: str, num_samples: int) -> int | None:
    """Measure a model's memory on the CPU with one thread, in a separate process.

    Args:
        reference: the model.
        num_samples: length of the utterance.

    Returns:
        The peak resident memory of a forward pass minus the memory before loading the model. The process has run the
        model before, so libraries do not count. None if the kernel does not report it (systems other than Linux).

    Raises:
        UserError: no such model, or the process was killed.
    """
    if not _STATUS.exists():
        return None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, reference, num_samples).result()
        except BrokenProcessPool as error:
            raise UserError(
                f"Expected to run {reference} in a process of its own, for its memory. It was killed. "
                "Is there enough memory?"
            ) from error


def gpu_peak_memory_bytes(model: AnyUpstream, batch: Tensor) -> int:
    """Measure a model's memory on its GPU, without that of other models there."""
    weights: int = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    torch.cuda.reset_peak_memory_stats(batch.device)
    before: int = torch.cuda.memory_allocated(batch.device)
    with torch.inference_mode():
        model(batch, torch.tensor([batch.shape[1]]))
    peak: int = torch.cuda.max_memory_allocated(batch.device)
    return weights + peak - before


def _measure(reference: str, num_samples: int) -> int | None:
    with threads(1), torch.inference_mode():
        waveforms = torch.randn(1, num_samples)
        # The first use imports libraries and sets up kernels, which are not the model's memory.
        load_model(reference)(torch.randn(1, WARM_UP_SAMPLES), torch.tensor([WARM_UP_SAMPLES]))
        _give_memory_back()
        before = _kilobytes("VmRSS")
        model = load_model(reference)
        try:
            # Exclude the peak of loading.
            _CLEAR_PEAK.write_text("5", encoding="ascii")
        except OSError:
            return None
        model(waveforms, torch.tensor([num_samples]))
        return (_kilobytes("VmHWM") - before) * 1024


def _give_memory_back() -> None:
    """Return free memory to the system, as far as the C library can."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _kilobytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{_STATUS} has no {field}")
    return int(found[1])
