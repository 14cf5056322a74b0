"""``bench submit``: the archive that superbbenchmark.org scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from bench.cli import options
from bench.errors import UserError
from bench.terminal.streams import print_line


def submit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The run's folder.")],
    model: Annotated[Optional[str], typer.Option(help="Row to submit, if the run has several.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(min=0, help="Seed of the heads.")] = 0,
    any_data: Annotated[
        bool, typer.Option("--any-data", help="Allow other test sets than SUPERB's. The site cannot score them.")
    ] = False,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="ZIP", help="File to write [default: predict-ROW.zip in DIR]."),
    ] = None,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Write a row's test predictions as the archive predict.zip for superbbenchmark.org, with checks."""
    from bench.exports.submission import TASKS, WITHOUT_FRAMES, submission_files, write_submission
    from bench.registry import nearest
    from bench.store.records import RecordStore

    store = RecordStore(folder)
    records = [record for record in store if record.cell.task in TASKS]
    if not records:
        raise UserError(f"Expected a run with finished SUPERB tasks in {folder}. Found none. Name a run's folder.")
    rows = list(dict.fromkeys(record.cell.model for record in records))
    if model is None and len(rows) > 1:
        raise UserError(f"Expected --model, as {folder} has several rows. {nearest('', rows)}")
    chosen = model or rows[0]
    if chosen not in rows:
        raise UserError(f"--model {chosen}: {folder} has no such row. {nearest(chosen, rows)}")
    cells = {one.cell.task: one.cell for one in records if one.cell.model == chosen and one.cell.seed == seed}
    files: dict[str, str] = {}
    lines = []
    for task in TASKS:
        if task not in cells:
            lines.append(f"{task}: left out, {chosen} has no finished cell with seed {seed}")
        elif task == "sd":
            lines.append(f"{task}: left out, {WITHOUT_FRAMES}")
        else:
            tested = [row for row in store.predictions(cells[task]) if row.split == "test"]
            found = submission_files(task, tested, any_data=any_data)
            files |= found
            lines.append(f"{task}: {len(tested):,} predictions in {', '.join(found)}")
    if not files:
        raise UserError(
            f"Expected a finished task of {chosen} with seed {seed} in {folder}. Found none. Choose --seed."
        )
    archive = out or folder / f"predict-{chosen}.zip"
    write_submission(files, archive)
    for line in [*lines, f"{archive}: submit it at superbbenchmark.org/submit"]:
        print_line(line)
    return 0
