"""The output of ``bench data check``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.terminal.printing import print_rendered
from bench.terminal.streams import print_line
from bench.text import printable
from tasks.data_check.report import CorpusReport

SHOWN_KINDS = 20
# Paths may contain spaces, so they end at the punctuation and words of our messages.
_PATH = re.compile(r"/.*?(?=\. |: | is | cannot |, as | \(|$)")
_NUMBER = re.compile(r"\d[\d.,]*(?! Hz|[\d.,])")


def json_report(choice: str, reports: Sequence[CorpusReport]) -> dict[str, Any]:
    """Return all results as plain values."""
    corpora = [{"usable": report.usable, **asdict(report)} for report in reports]
    return {"data": choice, "usable": all(report.usable for report in reports), "corpora": corpora}


def print_reports(choice: str, reports: Sequence[CorpusReport]) -> None:
    """Print a table of sizes, followed by one line per error and remark."""
    print_rendered(_sizes(f"Corpora of {Path(choice).name}", reports))
    for report in reports:
        lines = [f"unusable: {error}" for error in report.errors]
        lines += _folded(report.bad_files)
        lines += [f"remark: {remark}" for remark in report.remarks]
        for line in lines:
            print_line(f"{report.name}: {line}")


def _folded(errors: Sequence[str]) -> list[str]:
    """Fold files with the same fault into one line with their number and the first file."""
    alike: dict[str, list[str]] = defaultdict(list)
    for error in errors:
        alike[_kind(error)].append(error)
    kinds = sorted(alike.values(), key=len, reverse=True)
    lines = [f"{len(same):,} bad files, e.g. {same[0]}" if len(same) > 1 else f"bad file: {same[0]}" for same in kinds]
    if len(lines) > SHOWN_KINDS:
        lines = [*lines[:SHOWN_KINDS], f"{len(lines) - SHOWN_KINDS:,} further kinds of bad files"]
    if len(errors) > len(lines):
        lines.append(f"{len(errors):,} bad files in all; --json lists every one")
    return lines


def _kind(error: str) -> str:
    """Remove from an error what differs between files: paths, and numbers except sample rates."""
    return _NUMBER.sub("N", _PATH.sub("PATH", error))


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
