"""Prints the plan of a run: what is done, what is left, and how much work and disk space that needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from bench.config.run import RunConfig
from bench.runs.corpora import CorpusSizes, checked_corpora
from bench.runs.estimates import FEATURES_TFLOPS, TRAINING_TFLOPS, Estimates, checkpoint_bytes
from bench.runs.joining import join_run
from bench.runs.work import WorkList
from bench.sizes import size_text
from bench.store.run_folder import RunFolder
from bench.terminal.device import resolve_device
from bench.terminal.printing import print_json, print_rows
from bench.terminal.streams import print_line

UNKNOWN = "unknown"
SMALLEST = 0.001
"""Smaller figures are shown as less than this."""


def print_plan(config: RunConfig, folder: RunFolder, device: str, *, as_json: bool) -> None:
    """Check the corpora, and print the plan.

    Args:
        config: of the run.
        folder: of the run.
        device: ``cpu`` or ``cuda``, which need not be here, or ``auto``.
        as_json: print the items as JSON, without the corpora and totals.

    Raises:
        UserError: the folder holds another run, or a corpus is unusable.
    """
    join_run(folder, config)
    sizes = checked_corpora(config)
    where: Literal["cpu", "cuda"] = "cuda" if device == "cuda" else resolve_device(device)
    steps = plan_steps(WorkList(folder, config), sizes, where)
    if as_json:
        print_json(steps)
        return
    print_rows([_shown(step) for step in steps], f"{folder.path} on {where}")
    if sizes is None:
        print_line(
            f"The corpora {config.data.name} are not made yet, so the work of cells is unknown. A run makes them."
        )
    else:
        print_rows(_corpora(sizes), f"corpora {config.data.name}, checked")
    for line in _totals(config, steps):
        print_line(line)


def plan_steps(work: WorkList, sizes: CorpusSizes | None, device: Literal["cpu", "cuda"]) -> list[dict[str, Any]]:
    """Return one row per item. Estimates are what is left to do, and null where they are unknown."""
    steps = []
    for item, estimate in Estimates(work, sizes, device).items():
        step: dict[str, Any] = {"step": item.step, "subject": item.subject, "state": "to do" if estimate else "done"}
        if estimate is None:
            step |= {"updates": 0, "learning_rates": 0, "audio_hours": 0.0, "macs": 0, "head_macs": 0}
            step |= {"gpu_hours": 0.0, "disk_bytes": 0}
        else:
            step |= {
                "updates": estimate.updates,
                "learning_rates": estimate.num_learning_rates,
                "audio_hours": None if estimate.audio_s is None else estimate.audio_s / 3600,
                "macs": estimate.macs,
                "head_macs": estimate.head_macs,
                "gpu_hours": estimate.gpu_hours,
                "disk_bytes": estimate.disk_bytes,
            }
        steps.append(step)
    return steps


def _shown(step: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: step[name] for name in ("step", "subject", "state")},
        "updates": _figure(step["updates"]),
        "audio h": _figure(step["audio_hours"]),
        "TMACs": _figure(step["macs"], 1e12),
        "head TMACs": _figure(step["head_macs"], 1e12),
        "GPU h": _figure(step["gpu_hours"]),
        "disk": UNKNOWN if step["disk_bytes"] is None else size_text(step["disk_bytes"]),
    }


def _corpora(sizes: CorpusSizes) -> list[dict[str, Any]]:
    return [
        {
            "corpus": name,
            "split": split,
            "utterances": f"{size.num_utterances:,}",
            "hours": _figure(size.duration_s / 3600),
        }
        for name, splits in sizes.items()
        for split, size in splits.items()
    ]


def _totals(config: RunConfig, steps: Sequence[dict[str, Any]]) -> Iterable[str]:
    left = [step for step in steps if step["state"] == "to do"]
    total = {key: _total(left, key) for key in ("updates", "audio_hours", "gpu_hours")}
    yield (
        f"to do: {len(left)} items, {total['updates']} updates, at most {total['audio_hours']} h of audio, "
        f"{_total(left, 'macs', 1e12)} TMACs of models and {_total(left, 'head_macs', 1e12)} of heads."
    )
    yield (
        f"GPU hours: {total['gpu_hours']}, if one GPU reaches {TRAINING_TFLOPS:g} TFLOPS in training and "
        f"{FEATURES_TFLOPS:g} TFLOPS in features and heads. These are assumptions (docs/cluster.md)."
    )
    yield from _search(left)
    models, features = (
        sum(step["disk_bytes"] or 0 for step in left if step["step"] == kind) for kind in ("compress", "evaluate")
    )
    yield f"disk: at most {size_text(models)} for models and {size_text(features)} for features."
    trains = any(step["step"] == "compress" and step["updates"] != 0 for step in left)
    if trains and config.teacher:
        yield f"While it runs, a compression needs {size_text(checkpoint_bytes(config.teacher))} more for checkpoints."


def _search(left: Sequence[dict[str, Any]]) -> Iterable[str]:
    """Say what the search for learning rates costs."""
    searching = [step for step in left if step["learning_rates"] > 1]
    if searching:
        shares = [1 - 1 / step["learning_rates"] for step in searching]
        updates = sum(share * (step["updates"] or 0) for share, step in zip(shares, searching, strict=True))
        hours = sum(share * (step["gpu_hours"] or 0.0) for share, step in zip(shares, searching, strict=True))
        rates = max(step["learning_rates"] for step in searching)
        yield (
            f"learning rates: {len(searching)} items try {rates} rates on dev. The search is about "
            f"{_figure(round(updates))} of the updates and up to {_figure(hours)} of the GPU hours. "
            "--lr RATE trains at one rate."
        )


def _total(steps: Sequence[dict[str, Any]], key: str, unit: float = 1.0) -> str:
    known = [step[key] for step in steps if step[key] is not None]
    if len(known) == len(steps):
        return _figure(sum(known), unit)
    return f"{_figure(sum(known), unit)} (and unknown ones)"


def _figure(value: float | None, unit: float = 1.0) -> str:
    if value is None:
        return UNKNOWN
    scaled = value / unit
    if isinstance(value, int) and unit == 1.0:
        return f"{value:,}"
    if 0 < scaled < SMALLEST:
        return f"<{SMALLEST:g}"
    return f"{scaled:,.0f}" if scaled >= 100 else f"{scaled:.3g}"
