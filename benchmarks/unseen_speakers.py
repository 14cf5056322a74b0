"""Makes keyword spotting of real digits by unseen speakers: manifests that leave two of the pack's six speakers out.

Usage: ``python benchmarks/unseen_speakers.py PACK DIR``, then ``bench evaluate --tasks ks --data DIR/without-a-b.yaml``
for each of the three files. ``PACK`` is the real-speech pack that the tests use. The table of docs/embedded.md was made
with them.
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
"""Of the clips that are not left out, every eighth chooses the head."""


def main(
    pack: Annotated[Path, typer.Argument(help="Folder of the real-speech pack.")],
    out: Annotated[Path, typer.Argument(help="Folder for the manifests.")],
) -> None:
    """Write a manifest and a data file for every pair of speakers that is left out of training."""
    out.mkdir(parents=True, exist_ok=True)
    clips = [path for digit in DIGITS for path in sorted((pack / "speech_commands_v1" / digit).glob("*.wav"))]
    for pair in LEFT_OUT:
        name = f"without-{'-'.join(pair)}"
        with (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "split", "label"])
            heard = [path for path in clips if not path.name.startswith(pair)]
            dev = set(heard[::DEV_EVERY])
            for path in clips:
                split = "dev" if path in dev else "train" if path in heard else "test"
                writer.writerow([path.resolve(), split, path.parent.name])
        data = {"name": name, "tasks": {"ks": {"manifest": f"{name}.csv"}}}
        (out / f"{name}.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
