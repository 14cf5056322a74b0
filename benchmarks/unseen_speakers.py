"""Make manifests for keyword spotting of real digits that hold out two of the pack's six speakers.

Usage: ``python benchmarks/unseen_speakers.py PACK DIR``, then ``bench evaluate --tasks ks --data DIR/without-a-b.yaml``
for each of the three files. ``PACK`` is the real-speech pack that the tests use. They produced the table in
docs/embedded.md.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer
import yaml

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LEFT_OUT = (("george", "jackson"), ("lucas", "nicolas"), ("theo", "yweweler"))

DEV_EVERY = 8
"""Every eighth clip of the other speakers is in dev."""


def main(
    pack: Annotated[Path, typer.Argument(help="Folder of the real-speech pack.")],
    out: Annotated[Path, typer.Argument(help="Folder for the manifests.")],
) -> None:
    """Write a manifest and a data file for every held-out pair of speakers."""
    out.mkdir(parents=True, exist_ok=True)
    clips = [path for digit in DIGITS for path in sorted((pack / "speech_commands_v1" / digit).glob("*.wav"))]
    for pair in LEFT_OUT:
        name = f"without-{'-'.join(pair)}"
        with (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "split", "label"])
            seen = [path for path in clips if not path.name.startswith(pair)]
            dev = set(seen[::DEV_EVERY])
            for path in clips:
                split = "dev" if path in dev else "train" if path in seen else "test"
                writer.writerow([path.resolve(), split, path.parent.name])
        data = {"name": name, "tasks": {"ks": {"manifest": f"{name}.csv"}}}
        (out / f"{name}.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
