"""QUESST 2014's layout, and users' own queries and documents."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from bench.audio.files import read_headers
from bench.audio.manifest import read_manifest
from bench.contracts import Settings
from bench.errors import UserError
from bench.files.paths import is_possible
from bench.text import shortened
from tasks.corpora.own_data import ManifestData, read_own_data
from tasks.corpora.queries import DOCUMENTS, QUERY_SPLITS, with_matches
from tasks.corpora.quesst14_truth import PAGE, read_truth
from tasks.corpora.text_files import read_text

SCORING = "scoring"
QUESST_NAMES = {DOCUMENTS: "utterances", "dev": "dev", "test": "eval"}
"""What QUESST calls our splits."""


class Quesst14Data(Settings):
    """QUESST 2014, or your own queries in its layout."""

    layout: Literal["quesst14"] = "quesst14"
    """The lists ``scoring/language_key_<utterances|dev|eval>.lst`` with lines ``<folder>/<path> <language>``, and the
    ground truth ``scoring/groundtruth_quesst14_<dev|eval>``. Audio is at ``<path>`` below ``root``, as in s3prl."""
    root: Path
    """The folder ``quesst14Database``, with ``Audio``, ``dev_queries``, ``eval_queries`` and ``scoring``."""
    language: str | None = "nnenglish"
    """Search for the queries of this language in its documents; null searches all. SUPERB takes ``nnenglish``, and
    scores it over all queries and documents of the ground truth: those of other languages count as misses."""
    resample: bool = True
    """Resample files with another rate to 16 kHz instead of refusing them. QUESST 2014 has 8 kHz."""


class ManifestQueriesData(ManifestData):
    """Your own queries and documents."""

    manifest: Path
    """CSV (``.csv``, ``.tsv``) or JSON lines (``.jsonl``) with the columns ``path`` (of the audio, relative to this
    file) and ``split``: ``documents`` to search in, ``dev`` and ``test`` for queries. An optional column ``id`` names
    recordings; the default is the path. Other columns are kept with the predictions."""
    matches: Path
    """CSV or JSON lines with the columns ``query`` and ``document``: ids of a query and of a document that holds it."""


def read_quesst14(data: Quesst14Data) -> dict[str, pd.DataFrame]:
    """Read the corpus into ``documents``, ``dev`` and ``test``.

    Returns:
        Tables with the columns id (the file's name), wav_path, num_samples and language, in the order of the lists;
        and for queries those of `tasks.corpora.queries`.

    Raises:
        UserError: a list, the ground truth or audio is missing, malformed or unreadable.
    """
    splits = {split: _listed(data, split) for split in (DOCUMENTS, *QUERY_SPLITS)}
    for split in QUERY_SPLITS:
        truth = read_truth(data.root / SCORING / f"groundtruth_quesst14_{QUESST_NAMES[split]}")
        if unknown := sorted(set(splits[DOCUMENTS]["id"]) - truth.documents):
            raise UserError(
                f"Expected every document of language_key_utterances.lst in the ecf file of {split}, in {data.root}. "
                f"Found none for {shortened(unknown[0], 60)} ({len(unknown)} missing). Restore {SCORING} from {PAGE}."
            )
        splits[split] = with_matches(splits[split], truth.matches, len(truth.matches), len(truth.documents))
    return splits


def read_own_queries(data: ManifestQueriesData) -> dict[str, pd.DataFrame]:
    """Read a user's own queries and documents, like `read_quesst14`."""
    splits = read_own_data(data, (), (DOCUMENTS, *QUERY_SPLITS))
    split_of = {name: split for split, table in splits.items() for name in table["id"]}
    table = read_manifest(data.matches, ("query", "document"))
    matches: dict[str, set[str]] = {}
    for number, (query, document) in enumerate(zip(table["query"], table["document"], strict=True), start=1):
        for name, wanted in ((query, QUERY_SPLITS), (document, (DOCUMENTS,))):
            if split_of.get(name) not in wanted:
                what = f"one of {split_of[name]}" if name in split_of else "one that the manifest does not have"
                raise UserError(
                    f"Expected the id of a recording of {' or '.join(wanted)} in row {number} of {data.matches}. Found "
                    f"{shortened(name)!r}, {what}. An id is the path without suffix, unless the manifest has a column "
                    "id."
                )
        matches.setdefault(query, set()).add(document)
    for split in QUERY_SPLITS:
        names = set(splits[split]["id"]) & matches.keys()
        splits[split] = with_matches(splits[split], matches, max(1, len(names)), len(splits[DOCUMENTS]))
    return splits


def _listed(data: Quesst14Data, split: str) -> pd.DataFrame:
    """Read one list and the headers of its audio."""
    file = data.root / SCORING / f"language_key_{QUESST_NAMES[split]}.lst"
    if not file.is_file():
        raise UserError(
            f"Expected QUESST 2014 with its lists in {data.root / SCORING}. Found no {file.name} there. Get it from "
            f"{PAGE}, or correct root in the data file."
        )
    paths, languages, others = [], [], set()
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split()
        # s3prl drops the first folder of the path.
        inner = fields[0].partition("/")[2]
        is_inside = is_possible(inner) and ".." not in Path(inner).parts and not Path(inner).is_absolute()
        if len(fields) != 2 or not is_inside:
            raise UserError(
                f"Expected `<folder>/<path> <language>` in line {number} of {file}. Found "
                f"{shortened(line.strip())!r}. Correct the line."
            )
        if data.language is not None and fields[1] != data.language:
            others.add(fields[1])
            continue
        paths.append(data.root / inner)
        languages.append(fields[1])
    if not paths:
        listed = f"only {shortened(', '.join(sorted(others)))}" if others else "no line"
        raise UserError(
            f"Expected files of the language {shortened(str(data.language), 40)!r} in {file}. Found {listed}. "
            "Correct language in the data file."
        )
    names = pd.Series([path.stem for path in paths])
    if names.duplicated().any():
        raise UserError(
            f"Expected every file once in {file}. Found {shortened(names[names.duplicated()].iloc[0], 60)} twice. "
            "Remove one."
        )
    if missing := [path for path in paths if not path.is_file()]:
        raise UserError(
            f"Expected the audio that {file} lists. Found no {missing[0]} ({len(missing)} of {len(paths)} missing). "
            f"Get it from {PAGE}, or correct root in the data file."
        )
    headers = read_headers(paths, resample=data.resample, root=data.root)
    return pd.DataFrame(
        {
            "id": names,
            "wav_path": [str(path) for path in paths],
            "num_samples": [header.num_samples for header in headers],
            "language": languages,
        }
    )
