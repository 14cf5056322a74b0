"""What ``bench doctor`` looks at. Imports that may crash are tried in processes of their own."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from bench import registry
from bench.errors import UserError

MATCHING_PAIR = "pip install torch==2.11.0 torchaudio==2.11.0"
LARGEST_LINE = 200


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    found: str
    ok: bool
    fix: str = ""


def diagnose() -> list[Finding]:
    """Look at everything; nothing here raises."""
    checks: list[Callable[[], list[Finding]]] = [
        _python,
        _torch_pair,
        _cuda,
        _libraries,
        _synthesiser,
        _plugins,
        _disk,
    ]
    return [finding for check in checks for finding in check()]


def _python() -> list[Finding]:
    supported = (3, 10) <= sys.version_info[:2] < (3, 14)
    return [Finding("Python", platform.python_version(), supported, "" if supported else "Use Python 3.10 to 3.13.")]


def _torch_pair() -> list[Finding]:
    torch_version, torchaudio_version = _version("torch"), _version("torchaudio")
    findings = [_imported("torch", f"{torch_version}", MATCHING_PAIR)]
    same = torch_version.split("+")[0].rsplit(".", 1)[0] == torchaudio_version.split("+")[0].rsplit(".", 1)[0]
    audio = _imported(
        "torchaudio",
        torchaudio_version,
        "torch and torchaudio must be a matching pair from one index (a CPU-only torch from elsewhere does not fit "
        f"PyPI's torchaudio): {MATCHING_PAIR}",
    )
    if audio.ok and not same:
        audio = Finding("torchaudio", f"{torchaudio_version} beside torch {torch_version}", ok=False, fix=MATCHING_PAIR)
    return [*findings, audio]


def _cuda() -> list[Finding]:
    code = "import torch; print(', '.join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))"
    ok, printed = _in_process(code)
    return [Finding("CUDA devices", printed or "none (the CPU is used)", ok=True)] if ok else []


def _libraries() -> list[Finding]:
    names = ["s3prl", "lightning", "safetensors", "jiwer", "pandas", "soundfile", "librosa"]
    return [
        Finding(
            name,
            _version(name),
            find_spec(name) is not None,
            "" if find_spec(name) else f"pip install {name}",
        )
        for name in names
    ]


def _synthesiser() -> list[Finding]:
    present = find_spec("espeakng_loader") is not None
    found = _version("espeakng-loader") if present else "absent: --data mini cannot be synthesised"
    return [Finding("speech synthesiser", found, present, "" if present else 'pip install "superb-bench[synth]"')]


def _plugins() -> list[Finding]:
    findings = []
    for kind, group in registry.GROUPS.items():
        try:
            for name in registry.names(group):
                registry.load(group, name)
            findings.append(Finding(kind, ", ".join(registry.names(group)), ok=True))
        except (UserError, OSError, AttributeError) as error:
            findings.append(Finding(kind, "cannot be imported", ok=False, fix=str(error)))
    return findings


def _disk() -> list[Finding]:
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    return [Finding("free disk space here", f"{free_gb:.0f} GB", free_gb > 1, "" if free_gb > 1 else "Free some.")]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _imported(module: str, found: str, fix: str) -> Finding:
    ok, printed = _in_process(f"import {module}")
    if ok:
        return Finding(module, found, ok=True)
    return Finding(module, f"{found}, import fails: {printed}", ok=False, fix=fix)


def _in_process(code: str) -> tuple[bool, str]:
    """Run code in a fresh interpreter; a crash of native libraries stays there."""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return True, result.stdout.strip()
    lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
    return False, lines[-1][:LARGEST_LINE]
