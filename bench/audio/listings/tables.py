"""Tables of utterances: CSV, and JSON lines."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.audio.listings.listing import Listing, as_text, table_of
from bench.files.json import parse_json_object
from bench.files.table import read_table
from bench.files.text import read_text

SEPARATORS = {".csv": ",", ".tsv": "\t"}
MAX_LISTING_BYTES = 10**9


def read_csv(file: Path) -> Listing:
    """Read a CSV or TSV file with a header.

    Raises:
        UserError: see `bench.files.table.read_table`.
    """
    table = read_table(file, SEPARATORS.get(file.suffix.lower(), ","), max_bytes=MAX_LISTING_BYTES)
    return Listing(pd.DataFrame(table.rows, columns=table.columns, dtype=object))


def read_json_lines(file: Path) -> Listing:
    """Read a file with one JSON object per line.

    A number becomes the text as written, null becomes empty text, and a list its items separated by spaces.

    Raises:
        UserError: a line is no JSON object, or the file no text.
    """
    rows = []
    for number, line in enumerate(read_text(file, max_bytes=MAX_LISTING_BYTES).split("\n"), start=1):
        if line.strip():
            row = parse_json_object(line, f"line {number} of {file}", numbers_as_text=True)
            rows.append({name: as_text(value) for name, value in row.items()})
    return Listing(table_of(rows))
