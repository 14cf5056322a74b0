"""Prints the commands of ``--executor commands``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict

from bench.runs.executors.commands import ItemCommand
from bench.terminal.printing import print_json
from bench.terminal.streams import print_line, say


def print_commands(commands: Sequence[ItemCommand], *, as_json: bool) -> None:
    """Print a comment and a command for each item, which a shell can run from top to bottom."""
    if as_json:
        print_json([asdict(each) for each in commands])
        return
    if not commands:
        say("Every item is done. Run the same command without --executor to see the leaderboard.")
    for each in commands:
        after = f"; after: {', '.join(each.after)}" if each.after else ""
        print_line(f"# {each.item} ({each.state}{after})")
        print_line(shlex.join(each.command))
