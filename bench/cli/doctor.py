"""``bench doctor``: check that everything the suite needs is installed."""

from __future__ import annotations

from bench.cli import options
from bench.terminal.streams import say


def doctor(
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Show versions and devices, what is missing, and how to fix it. Exits with 1 if anything is missing."""
    from bench.installation.diagnosis import diagnose
    from bench.terminal.printing import print_json, print_rows

    findings = diagnose()
    rows = [{"what": item.what, "found": item.found, "ok": item.ok, "fix": item.fix} for item in findings]
    if json:
        print_json(rows)
    else:
        print_rows([{**row, "ok": "yes" if row["ok"] else "NO"} for row in rows])
    broken = [item for item in findings if not item.ok]
    say(f"{len(broken)} of {len(findings)} need attention" if broken else "all is well")
    return 1 if broken else 0
