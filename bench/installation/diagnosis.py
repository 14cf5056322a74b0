"""The checks of ``bench doctor``. Imports that may crash are tried in separate processes."""

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

from packaging.requirements import Requirement

from bench import registry
from bench.errors import UserError
from bench.installation.requirements import command_for, install_command, requirements

LONGEST_REASON = 200
ABSENT = "absent"
IMPORTED = {
    "torch": "import torch",
    # Importing loads its library, which works only with the version of torch it was built for.
    "torchaudio": "import torch, torchaudio.functional; torchaudio.functional.resample(torch.zeros(9), 3, 2)",
    **{name: f"import {name}" for name in ("s3prl", "lightning", "safetensors", "jiwer", "pandas", "soundfile")},
}
"""Maps packages to code that must run."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    found: str
    ok: bool
    fix: str = ""


def diagnose() -> list[Finding]:
    """Run all checks. Never raises."""
    checks: list[Callable[[], list[Finding]]] = [
        _python,
        _imports,
        _requirements,
        _cuda,
        _synthesiser,
        _plugins,
        _disk,
    ]
    return [finding for check in checks for finding in check()]


def _python() -> list[Finding]:
    supported = (3, 10) <= sys.version_info[:2] < (3, 14)
    return [Finding("Python", platform.python_version(), supported, "" if supported else "Use Python 3.10 to 3.13.")]


def _imports() -> list[Finding]:
    # Separate processes are slow, and needed only to find the failing package.
    all_work, _ = _in_process("\n".join(IMPORTED.values()))
    return [Finding(name, _version(name), ok=True) if all_work else _imported(name) for name in IMPORTED]


def _imported(package: str) -> Finding:
    ok, printed = _in_process(IMPORTED[package])
    if ok:
        return Finding(package, _version(package), ok=True)
    return Finding(package, f"{_version(package)}, fails: {printed}", ok=False, fix=_reinstall(package))


def _reinstall(package: str) -> str:
    # Both must come from the same index: a CPU-only torch does not work with PyPI's torchaudio.
    names = ("torch", "torchaudio") if package.startswith("torch") else (package,)
    return f"{command_for(*names)} --force-reinstall"


def _requirements() -> list[Finding]:
    """Compare installed packages with superb-bench's requirements."""
    needed = requirements()
    unmet = [one for one in needed if not _is_met(one)]
    found = ", ".join(f"{one.name} {_version(one.name)}" for one in unmet) or f"all {len(needed)}"
    return [Finding("required packages", found, ok=not unmet, fix=install_command(unmet) if unmet else "")]


def _is_met(requirement: Requirement) -> bool:
    found = _version(requirement.name)
    return found != ABSENT and requirement.specifier.contains(found, prereleases=True)


def _cuda() -> list[Finding]:
    code = "import torch; print(', '.join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))"
    ok, printed = _in_process(code)
    return [Finding("CUDA devices", printed or "none (the CPU is used)", ok=True)] if ok else []


def _synthesiser() -> list[Finding]:
    present = find_spec("espeakng_loader") is not None
    found = _version("espeakng-loader") if present else "absent: --data mini cannot be synthesised"
    return [Finding("speech synthesiser", found, present, "" if present else command_for("espeakng-loader"))]


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
        return ABSENT


def _in_process(code: str) -> tuple[bool, str]:
    """Run code in a new interpreter, which confines crashes of native libraries."""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return True, result.stdout.strip()
    lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
    return False, lines[-1][:LONGEST_REASON]
