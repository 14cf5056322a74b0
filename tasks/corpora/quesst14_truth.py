"""QUESST's ground truth: which query is in which document, in NIST's formats of spoken term detection.

Source: the README of QUESST's scoring folder; "The Spoken Term Detection (STD) 2006 Evaluation Plan" (NIST), for the
files ``.ecf.xml``, ``.tlist.xml`` and ``.rttm``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from bench.errors import UserError
from bench.text import shortened
from tasks.corpora.text_files import read_text

PAGE = "speech.fit.vutbr.cz/files/quesst14Database.tgz"
MAX_XML_BYTES = 20 * 10**6
"""QUESST's own files have 2 MB. In memory, elements take many times as much as on disk."""
_LEXEME_FIELDS = 6
"""Type, file, channel, start, duration and the term."""


class Truth(NamedTuple):
    """The trials of one split."""

    matches: dict[str, set[str]]
    """Ids of the documents with each query. Queries without any are left out."""
    documents: set[str]
    """All documents, searched or not."""


def read_truth(folder: Path) -> Truth:
    """Read the folder ``groundtruth_quesst14_<dev|eval>``.

    Raises:
        UserError: a file is missing or malformed, or names unknown documents.
    """
    documents = _documents(_only_file(folder, ".ecf.xml"))
    terms = _terms(_only_file(folder, ".tlist.xml"))
    file = _only_file(folder, ".rttm")
    matches: dict[str, set[str]] = defaultdict(set)
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0] != "LEXEME":
            continue
        if len(fields) < _LEXEME_FIELDS:
            raise UserError(
                f"Expected `LEXEME <document> <channel> <start> <duration> <query> ...` in line {number} of {file}. "
                f"Found {shortened(line.strip())!r}. Restore the file from {PAGE}."
            )
        document, term = fields[1], terms.get(fields[5])
        # Documents without any query are listed with the term NO_KEYWORD.
        if term is None:
            continue
        if document not in documents:
            raise UserError(
                f"Expected documents of {folder.name}/*.ecf.xml in line {number} of {file}. Found "
                f"{shortened(document, 60)!r}. Restore both files from {PAGE}."
            )
        matches[term].add(document)
    return Truth(dict(matches), documents)


def _only_file(folder: Path, suffix: str) -> Path:
    found = sorted(path for path in folder.glob(f"*{suffix}") if not path.name.startswith("."))
    if len(found) != 1:
        what = "none" if not found else f"{found[0].name} and {found[1].name}"
        raise UserError(f"Expected one file *{suffix} in {folder}. Found {what}. Restore the folder from {PAGE}.")
    return found[0]


def _documents(file: Path) -> set[str]:
    found = {Path(one.get("audio_filename", "")).name for one in _parsed(file).iter("excerpt")}
    names = {re.sub(r"\.(wav|sph)$", "", name, flags=re.IGNORECASE) for name in found} - {""}
    if not names:
        raise UserError(
            f"Expected elements `excerpt` with an audio_filename in {file}. Found none. Restore it from {PAGE}."
        )
    return names


def _terms(file: Path) -> dict[str, str]:
    """Map the text of every query, which the rttm file has, to its id."""
    found: dict[str, str] = {}
    for one in _parsed(file).iter("term"):
        if name := one.get("termid", "").strip():
            found[name] = name
            if text := (one.findtext("termtext") or "").strip():
                found[text] = name
    if not found:
        raise UserError(f"Expected elements `term` with a termid in {file}. Found none. Restore it from {PAGE}.")
    return found


def _parsed(file: Path) -> ElementTree.Element:
    text = read_text(file, max_bytes=MAX_XML_BYTES)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UserError(f"Expected XML without a document type in {file}. Found one. Restore it from {PAGE}.")
    try:
        # The declaration names an encoding, which text no longer has.
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    except ElementTree.ParseError as error:
        raise UserError(f"Expected XML in {file}. Found a fault ({error}). Restore it from {PAGE}.") from error
