"""The README's and docs/export.md's code is run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.upstream import load_upstream
from tests.helpers.command_line import bench

REPOSITORY = Path(__file__).parent.parent.parent


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.slow
def test_readme_compresses_exports_and_loads(
    speech_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = readme[readme.index("## Compress, export") : readme.index("## In Python")]
    (commands,) = blocks(section, "bash")
    (code,) = blocks(section, "python")
    assert len((commands + code).replace("\n\n", "\n").splitlines()) == 6
    (tmp_path / "data.yaml").write_text(f"audio: {{layout: folder, root: {speech_folder}}}\n", encoding="utf-8")
    for line in commands.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "bench"
        if arguments[0] == "compress":
            arguments += ["--preset", "smoke", "--data", "data.yaml"]
        result = bench(*arguments, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    monkeypatch.chdir(tmp_path)
    waveform = torch.randn(16_000)
    values: dict[str, Any] = {"waveform": waveform.numpy()}
    exec(code, values)
    expected, _ = load_upstream(tmp_path / "student")(waveform[None])
    assert all(torch.equal(a, b) for a, b in zip(values["states"], expected, strict=True))


@pytest.mark.slow
def test_s3prl_s_example_works_in_a_process_of_its_own(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "export.md").read_text(encoding="utf-8")
    (code,) = [block for block in blocks(text, "python") if "S3PRLUpstream" in block]
    assert bench("export", "mini-hubert", "--to", "s3prl", "--out", str(tmp_path / "student-s3prl")).returncode == 0
    command = code + "print(upstream.num_layers)"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.stdout.strip().endswith("13"), result.stderr[-2000:]
