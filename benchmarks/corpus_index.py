"""Time and memory of listing, indexing and hashing a large corpus, in the first run and in later ones.

Usage: ``python -m benchmarks.corpus_index [--num-files 281241]``. The corpus has the folders and names of LibriSpeech's
960 h. Its files are hard links to a few short recordings, so this measures the cost per file and not the disk. Each
step runs in a process of its own. The last two steps fork data-loading workers, let each look at every file in random
order, and measure the memory that they do not share with their parent: with a list, and with `CompactFiles`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import typer

from bench.audio.compact import CompactFiles
from bench.audio.files import AudioFile, hours
from bench.audio.sources import source_files, source_sha256
from bench.contracts import AudioSource

NUM_RECORDINGS = 64
FILES_PER_CHAPTER = 50
CHAPTERS_PER_SPEAKER = 3
STEPS = ("headers, first run", "headers, again", "hashes, first run", "hashes, again", "workers, list", "workers")


def make_corpus(root: Path, num_files: int) -> None:
    """Make ``<speaker>/<chapter>/<n>.flac`` below ``root/train-all``."""
    recordings = root / "recordings"
    recordings.mkdir()
    noise = np.random.default_rng(0)
    for number in range(NUM_RECORDINGS):
        samples = noise.standard_normal(1600 + 80 * number) * 0.1
        soundfile.write(recordings / f"{number}.flac", samples, 16_000)
    for first in range(0, num_files, FILES_PER_CHAPTER):
        chapter = first // FILES_PER_CHAPTER
        speaker = chapter // CHAPTERS_PER_SPEAKER
        folder = root / "train-all" / str(speaker) / str(chapter)
        folder.mkdir(parents=True)
        for number in range(min(FILES_PER_CHAPTER, num_files - first)):
            link = folder / f"{speaker}-{chapter}-{number:04d}.flac"
            os.link(recordings / f"{(first + number) % NUM_RECORDINGS}.flac", link)


def unshared_bytes() -> int:
    """Return the memory that this process shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def _look_at_all(files: Sequence[AudioFile], seed: int, barrier: Any, results: Any) -> None:
    before = unshared_bytes()
    order = random.Random(seed).sample(range(len(files)), len(files))
    total = sum(files[index].num_samples + len(str(files[index].path)) for index in order)
    barrier.wait()
    results.put((unshared_bytes() - before, total))
    barrier.wait()


def worker_bytes(files: Sequence[AudioFile], num_workers: int) -> int:
    """Return the memory that a worker takes for itself by looking at all files, in the mean over workers."""
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(num_workers), context.Queue()
    workers = [
        context.Process(target=_look_at_all, args=(files, seed, barrier, results)) for seed in range(num_workers)
    ]
    for worker in workers:
        worker.start()
    found = [results.get()[0] for _ in workers]
    for worker in workers:
        worker.join()
    return round(sum(found) / len(found))


def run_step(step: str, root: Path, num_workers: int) -> dict[str, float]:
    """Run one step in this process."""
    source = AudioSource(layout="librispeech", root=root, splits=("train-all",))
    begun = time.monotonic()
    result: dict[str, float] = {}
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if step.startswith("headers"):
        result["hours"] = hours(source_files(source))
    elif step.startswith("hashes"):
        result["first_digits"] = int(source_sha256(source)[:6], 16)
    else:
        files: Sequence[AudioFile] = source_files(source)
        if not step.endswith("list"):
            files = CompactFiles(files)
        result["worker_megabytes"] = worker_bytes(files, num_workers) / 1e6
    result["seconds"] = time.monotonic() - begun
    result["megabytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024 / 1e6
    return result


def main(
    num_files: Annotated[int, typer.Option(help="Files of the corpus.")] = 281_241,
    num_workers: Annotated[int, typer.Option(help="Data-loading workers of the last step.")] = 6,
    step: Annotated[str, typer.Option(hidden=True)] = "",
    root: Annotated[Path, typer.Option(hidden=True)] = Path(),
) -> None:
    """Make the corpus, run every step, and print one line for each."""
    if step:
        print(json.dumps(run_step(step, root, num_workers)))  # noqa: T201
        return
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        make_corpus(corpus, num_files)
        environment = {**os.environ, "SUPERB_BENCH_CACHE": str(Path(folder) / "cache")}
        for name in STEPS:
            command = [sys.executable, "-m", "benchmarks.corpus_index", "--step", name, "--root", str(corpus)]
            command += ["--num-workers", str(num_workers)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
            figures = {key: round(value, 2) for key, value in json.loads(done.stdout.splitlines()[-1]).items()}
            print(f"{name:20} {figures}", flush=True)  # noqa: T201
        size = sum(path.stat().st_size for path in (Path(folder) / "cache").rglob("*") if path.is_file())
        print(f"cache {size / 1e6:.1f} MB for {num_files:,} files")  # noqa: T201


if __name__ == "__main__":
    typer.run(main)
