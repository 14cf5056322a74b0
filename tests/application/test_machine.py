"""A smoke job on machines that lack something: it works, or one line names the remedy."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

BENCH = [sys.executable, "-c", "from bench.cli import main; main()"]
ROOT = Path(__file__).parent.parent.parent
SMOKE = ["--tasks", "ks", "--data", "ks.yaml", "--preset", "smoke"]
SPLITS = ("train", "dev", "test")
CAPABILITIES = "-dac_override,-dac_read_search"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="these conditions are made with Linux's tools"),
]


def bench(
    *arguments: str, folder: Path, cache: Path, before: list[str] | None = None, umask: int = 0o022
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, started by other programs."""
    environment = os.environ | {"SUPERB_BENCH_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    command = [*(before or []), *BENCH, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=environment, umask=umask, timeout=600
    )


def failed(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line of the failed cell."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if " failed: " in line]
    return line


def without_overriding(tmp_path: Path) -> list[str]:
    """Return what starts a program for whom permissions count, also where this user is root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root is above permissions, and there is no setpriv")
    return ["setpriv", f"--bounding-set={CAPABILITIES}", f"--inh-caps={CAPABILITIES}"]


def test_shared_memory_smaller_than_the_batches(keywords: Path, tmp_path: Path) -> None:
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=512k tmpfs /dev/shm && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    arguments = ["evaluate", "--model", "fbank", *SMOKE, "--protocol", "s3prl", "--set", "tasks.ks.num_workers=2"]
    done = bench(*arguments, "--out", "run", folder=keywords, cache=tmp_path / "cache", before=mount)
    assert done.returncode == 0, done.stderr
    assert "--shm-size" in done.stderr
    (record,) = (keywords / "run").glob("cells/*/ks-seed0.json")
    assert json.loads(record.read_text())["scores"]["test"]


class TestSharedCache:
    def test_what_another_user_of_the_group_made(self, keywords: Path, tmp_path: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("needs root to become another user")
        before, cache = without_overriding(tmp_path), tmp_path / "cache"
        run = ["evaluate", "--model", "random:mini-hubert", *SMOKE, "--out"]
        first = bench(*run, "first", folder=keywords, cache=cache, umask=0o002)
        assert first.returncode == 0, first.stderr
        private = [path for path in cache.rglob("*") if not path.stat().st_mode & 0o020]
        assert private == []
        for path in (cache, *cache.rglob("*")):
            os.chown(path, 65534, os.getegid())
        second = bench(*run, "second", folder=keywords, cache=cache, umask=0o002, before=before)
        assert second.returncode == 0, second.stderr

        for path in (cache, *cache.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o022)
        pruned = bench("cache", "--prune", folder=keywords, cache=cache, before=before)
        assert pruned.returncode == 1
        assert "Could not remove 1 of 1" in pruned.stderr

    def test_an_unwritable_one_is_refused_before_compression(self, keywords: Path, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        cache.mkdir(mode=0o555)
        run = ["run", "--compressor", "int8", *SMOKE, "--out", "run"]
        done = bench(*run, folder=keywords, cache=cache, before=without_overriding(tmp_path))
        assert done.returncode == 2, done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert str(cache) in done.stderr
        assert not (keywords / "run" / "models").exists()


class TestTooLittleMemory:
    LIMIT = ("sh", "-c", 'ulimit -v 7000000; exec "$@"', "sh")

    @pytest.fixture
    def meeting(self, keywords: Path) -> Path:
        """A recording of five minutes, and a corpus of others that are as long."""
        rows = ["path,split,label"]
        for number in range(6):
            noise = np.random.default_rng(number).normal(0, 0.1, 300 * 16_000).astype(np.float32)
            soundfile.write(keywords / f"meeting{number}.wav", noise, 16_000)
            rows.append(f"meeting{number}.wav,{SPLITS[number // 2]},{('low', 'high')[number % 2]}")
        (keywords / "ks.csv").write_text("\n".join(rows) + "\n")
        return keywords / "meeting0.wav"

    def test_features(self, meeting: Path, tmp_path: Path) -> None:
        arguments = ["features", "random:wavlm_base_plus", meeting.name, "--out", "features.npz"]
        done = bench(*arguments, folder=meeting.parent, cache=tmp_path / "cache", before=[*self.LIMIT])
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert "meeting0.wav" in line
        assert not (meeting.parent / "features.npz").exists()

    def test_a_cell(self, meeting: Path, tmp_path: Path) -> None:
        arguments = ["evaluate", "--model", "random:wavlm_base_plus", *SMOKE, "--out", "run"]
        line = failed(bench(*arguments, folder=meeting.parent, cache=tmp_path / "cache", before=[*self.LIMIT]))
        assert re.search(r"meeting\d\.wav", line)
