"""What ``bench data check`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.cli.output import print_rendered
from bench.cli.streams import print_line
from bench.text import printable
from tasks.data_check.report import CorpusReport

SHOWN_FILES = 20


def json_report(choice: str, reports: Sequence[CorpusReport]) -> dict[str, Any]:
    """Put all that was found out in plain values."""
    corpora = [{"usable": report.usable, **asdict(report)} for report in reports]
    return {"data": choice, "usable": all(report.usable for report in reports), "corpora": corpora}


def print_reports(choice: str, reports: Sequence[CorpusReport]) -> None:
    """Print a table of sizes, and below it what is wrong or odd, a line each."""
    print_rendered(_sizes(f"Corpora of {Path(choice).name}", reports))
    for report in reports:
        lines = [f"unusable: {error}" for error in report.errors]
        lines += [f"bad file: {error}" for error in report.bad_files[:SHOWN_FILES]]
        if len(report.bad_files) > SHOWN_FILES:
            lines.append(f"{len(report.bad_files):,} bad files in all; --json lists every one")
        lines += [f"remark: {remark}" for remark in report.remarks]
        for line in lines:
            print_line(f"{report.name}: {line}")


def _sizes(title: str, reports: Sequence[CorpusReport]) -> Table:
    table = Table(title=printable(title), title_justify="left")
    for column in ("task", "layout", "split"):
        table.add_column(column)
    for column in ("utterances", "real corpus", "hours", "real hours"):
        table.add_column(column, justify="right")
    for report in reports:
        if not report.splits:
            table.add_row(report.name, report.layout, "unusable")
        for split in report.splits:
            known = split.known_num_utterances
            table.add_row(
                report.name,
                report.layout,
                printable(split.split),
                f"{split.num_utterances:,}",
                "" if known is None else f"{known:,}",
                f"{split.hours:.2f}",
                "" if split.known_hours is None else f"{split.known_hours:.1f}",
            )
        table.add_section()
    return table
