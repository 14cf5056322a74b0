"""``bench compare``: which differences between models are real."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from bench.cli import options
from bench.cli.output import signed_percent
from bench.terminal.printing import print_json, print_rows
from bench.terminal.streams import print_line

if TYPE_CHECKING:
    from bench.comparison.compare import Comparison, Score


def compare(
    models: Annotated[
        list[str],
        typer.Argument(metavar="A B..", help="Rows of the leaderboard, or DIR/cells/MODEL; each is compared with A."),
    ],
    run: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--run", metavar="DIR", help="The run's folder [default: the newest in results/runs]."),
    ] = None,
    split: Annotated[str, typer.Option(help="Whose utterances: test or dev.")] = "test",
    by: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="COLUMN", help="Resample whole speakers (or another column), not utterances."),
    ] = None,
    changes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="COLUMNS|all",
            help="Show what changed: which speakers, labels, durations or other columns of the data lost most.",
        ),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="CSV", help="With --changes: write every utterance that changed."),
    ] = None,
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Compare models by a paired bootstrap over the test utterances: differences, intervals, p-values."""
    from bench.cli.changes import show_changes
    from bench.comparison.bootstrap import MIN_UNITS, NUM_RESAMPLES
    from bench.comparison.compare import compare as compare_rows
    from bench.comparison.rows import find_rows
    from bench.errors import UserError
    from bench.leaderboard.collate import SMOKE
    from bench.leaderboard.notes import SMOKE_NOTE
    from bench.terminal.choices import one_of

    split = one_of(split, ("test", "dev"), "--split")
    if out and not changes:
        raise UserError("--out writes the utterances that changed. Add --changes all, or leave it out.")
    if by and changes:
        raise UserError("--by does not go with --changes, which takes utterances one by one. Leave one of them out.")
    rows = find_rows(models, run, Path("results") / "runs")
    if changes:
        show_changes(rows, split, changes, out, as_json=json)
        return 0
    found = compare_rows(rows, split, by)  # type: ignore[arg-type]
    if json:
        print_json([_as_json(comparison, split) for comparison in found])
        return 0
    print_rows([_for_the_eye(comparison) for comparison in found], f"{split}, {NUM_RESAMPLES} resamples, in percent")
    for line in dict.fromkeys(
        f"no interval where fewer than {MIN_UNITS} {one.unit}s were resampled: it would be too narrow"
        for one in found
        if one.too_few
    ):
        print_line(line)
    if any(one.preset == SMOKE for one in found):
        print_line(SMOKE_NOTE)
    print_line("* the interval excludes 0; ** after Holm's correction over all lines of the two models")
    return 0


def _for_the_eye(comparison: Comparison) -> dict[str, str]:
    difference = comparison.difference
    interval, p_value = comparison.too_few, ""
    if difference.has_interval:
        interval = f"{signed_percent(difference.low)} to {signed_percent(difference.high)}"
        p_value = f"{difference.p_value:.4f}"
    mark = "**" if comparison.is_real_after_holm else "*" if comparison.better else ""
    return {
        "task": comparison.task,
        "metric": comparison.metric,
        "A": f"{comparison.first} {_score(comparison.first_score)}",
        "B": f"{comparison.other} {_score(comparison.other_score)}",
        "B - A": signed_percent(difference.value),
        "95 % interval": interval,
        "p": p_value,
        "real": mark,
        "better": comparison.better or "",
        "resampled": f"{comparison.num_units} {comparison.unit}s",
    }


def _score(score: Score) -> str:
    return f"{100 * score.mean:.2f}" + ("" if score.std is None else f" ± {100 * score.std:.2f}")


def _as_json(comparison: Comparison, split: str) -> dict[str, Any]:
    from bench.leaderboard.collate import SMOKE
    from bench.leaderboard.notes import SMOKE_NOTE

    difference = comparison.difference
    return {
        "task": comparison.task,
        "metric": comparison.metric,
        "split": split,
        "a": comparison.first,
        "b": comparison.other,
        "a_score": comparison.first_score.mean,
        "a_std": comparison.first_score.std,
        "b_score": comparison.other_score.mean,
        "b_std": comparison.other_score.std,
        "seeds": list(comparison.seeds),
        "difference": difference.value,
        "interval": [difference.low, difference.high] if difference.has_interval else None,
        "p_value": difference.p_value if difference.has_interval else None,
        "p_holm": comparison.p_holm if difference.has_interval else None,
        "is_real": comparison.better is not None,
        "is_real_after_holm": comparison.is_real_after_holm,
        "better": comparison.better,
        "resampled": comparison.unit,
        "num_resampled": comparison.num_units,
        "too_few": bool(comparison.too_few),
        "note": SMOKE_NOTE if comparison.preset == SMOKE else None,
    }
