"""The archive ``predict.zip`` that superbbenchmark.org scores, from a run's kept predictions.

Source: github.com/s3prl/s3prl, ``s3prl/submit/submit.py`` (folders and files), and the code of each task in
``s3prl/downstream`` that writes its file.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from bench import registry
from bench.contracts import DeclaresSuperbStandard
from bench.errors import UserError
from bench.files.atomic import replacing
from bench.store.records import Prediction
from bench.text import shortened

QBE_THRESHOLD = 2.0
"""Scores above it are decided as found."""
FIRST_SPEAKER = 10_001
"""VoxCeleb1's number of the class ``speaker_0``."""
NUM_FOLDS = 5
"""IEMOCAP's sessions; the archive has a folder of each."""
WITHOUT_FRAMES = "its kept predictions have no scores of frames, which the archive needs"

Lines = Callable[[Sequence[Prediction]], dict[str, str]]


def _plain(rows: Sequence[Prediction]) -> dict[str, str]:
    return {row.id: str(row.prediction) for row in rows}


def _keywords(rows: Sequence[Prediction]) -> dict[str, str]:
    return {row.id.replace("/", "-"): str(row.prediction) for row in rows}


def _speakers(rows: Sequence[Prediction]) -> dict[str, str]:
    numbers = {row.id: str(row.prediction).removeprefix("speaker_") for row in rows}
    if other := next((row for row in rows if not numbers[row.id].isdecimal()), None):
        raise UserError(
            f"Expected the speakers of VoxCeleb1, such as speaker_0, as answers of sid. Found "
            f"{shortened(repr(other.prediction), 60)}. The site scores no other data."
        )
    return {name: f"id{int(number) + FIRST_SPEAKER}" for name, number in numbers.items()}


def _trials(rows: Sequence[Prediction]) -> dict[str, str]:
    return {row.id.replace(" ", "_"): str(row.prediction) for row in rows}


def _intents(rows: Sequence[Prediction]) -> dict[str, str]:
    return {row.id: ",".join(str(row.prediction).split(" ; ")) for row in rows}


FORMATS: Mapping[str, tuple[str, str, str, Lines]] = {
    "pr": ("pr_public", "predict.ark", " ", _plain),
    "sid": ("sid_public", "predict.txt", " ", _speakers),
    "ks": ("ks_public", "predict.txt", " ", _keywords),
    "ic": ("ic_public", "predict.csv", ",", _intents),
    "er": ("er_fold{fold}_public", "predict.txt", " ", _plain),
    "asr": ("asr_public", "predict.ark", " ", _plain),
    "sf": ("sf_public", "predict.ark", " ", _plain),
    "asv": ("sv_public", "predict.txt", " ", _trials),
}
"""Folder, file, sign between id and answer, and how answers are written, by task."""
QBE = ("qbe_public", "benchmark.stdlist.xml")
TASKS = (*FORMATS, "qbe", "sd")


def submission_files(task: str, rows: Sequence[Prediction], *, any_data: bool = False) -> dict[str, str]:
    """Return the archive's files of one task: path below ``predict`` to content.

    Args:
        task: one of `TASKS`, but ``sd``.
        rows: its predictions of test.
        any_data: allow other test sets than SUPERB's.

    Raises:
        UserError: ids are repeated or unusable, answers are missing, or it is not SUPERB's test set.
    """
    if not rows:
        raise UserError(f"Expected predictions of {task} on test. Found none. Run it again with --split test.")
    if lost := next((row for row in rows if row.prediction is None), None):
        raise UserError(
            f"Expected an answer to every utterance of {task}. Found none for {shortened(lost.id, 60)}: its head "
            "diverged. Train it at a lower learning rate."
        )
    if not any_data:
        _check_size(task, rows)
    if task == "qbe":
        return {"/".join(QBE): _search_results(rows)}
    folder, file, sign, lines = FORMATS[task]
    folds: dict[str, list[Prediction]] = defaultdict(list)
    for row in rows:
        folds[str(row.fold) if task == "er" else ""].append(row)
    if task == "er":
        _check_folds(folds.keys())
    found = {}
    for fold, part in sorted(folds.items()):
        answers = lines(part)
        _check_ids(task, answers, part, sign)
        place = folder.format(fold=int(fold) + 1 if fold.isdigit() else 1)
        found[f"{place}/{file}"] = "".join(f"{name}{sign}{answers[name]}\n" for name in sorted(answers))
    return found


def write_submission(files: Mapping[str, str], archive: Path) -> None:
    """Write the archive. The same files give the same bytes."""
    with replacing(archive) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as packed:
        for path, content in sorted(files.items()):
            info = zipfile.ZipInfo(f"predict/{path}")
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, content)


def _check_folds(found: Collection[str]) -> None:
    wanted = {str(fold) for fold in range(NUM_FOLDS)}
    # Data without folds have no other choice.
    if set(found) not in (wanted, {str(None)}):
        raise UserError(
            f"Expected predictions of er on the folds 0 to {NUM_FOLDS - 1}, which the archive needs. Found "
            f"{shortened(', '.join(sorted(found)), 60)}. Run er again with all folds."
        )


def _check_ids(task: str, answers: Mapping[str, str], rows: Sequence[Prediction], sign: str) -> None:
    if len(answers) < len(rows):
        raise UserError(f"Expected every id of {task} once. Found {len(rows) - len(answers)} repeated. Run it again.")
    for name, answer in answers.items():
        if sign in name or not name or "\n" in f"{name}{answer}":
            raise UserError(
                f"Expected ids of {task} without {sign!r} and answers of one line. Found {shortened(repr(name), 80)}. "
                "Name the recordings as SUPERB does."
            )


def _check_size(task: str, rows: Sequence[Prediction]) -> None:
    plugin = registry.load("bench.tasks", task)
    if not isinstance(plugin, DeclaresSuperbStandard):
        return
    expected = plugin.superb_standard.num_test_utterances
    found: dict[str, int] | int
    if isinstance(expected, Mapping):
        expected = dict(expected)
        found = {fold: sum(str(row.fold) == fold for row in rows) for fold in expected}
    else:
        # The standard of speaker verification counts recordings, and a row is a trial of two.
        found = len({name for row in rows for name in (row.id.split(" ") if task == "asv" else [row.id])})
    if found != expected:
        raise UserError(
            f"Expected SUPERB's test set of {task}, {expected} utterances. Found {found}. The site scores no other "
            "data: use the whole corpus, or --any-data to write the archive anyway."
        )
    documents = plugin.superb_standard.num_documents
    fewest = min(len(row.prediction) if isinstance(row.prediction, Mapping) else 0 for row in rows)
    if documents is not None and fewest < documents:
        raise UserError(
            f"Expected scores of SUPERB's {documents} documents in every answer of {task}. Found {fewest}. Search all "
            "documents, or use --any-data to write the archive anyway."
        )


def _is_scores(answer: object) -> bool:
    return isinstance(answer, Mapping) and all(isinstance(score, int | float) for score in answer.values())


def _search_results(rows: Sequence[Prediction]) -> str:
    if other := next((row for row in rows if not _is_scores(row.prediction)), None):
        raise UserError(
            f"Expected a score of every document as the answer to each query of qbe. Found "
            f"{shortened(repr(other.prediction), 60)} for {shortened(other.id, 60)}. Delete the record, and run again."
        )
    root = ElementTree.Element(
        "stdlist",
        termlist_filename="benchmark.stdlist.xml",
        indexing_time="1.00",
        language="english",
        index_size="1",
        system_id="benchmark",
    )
    for row in sorted(rows, key=lambda row: row.id):
        terms = ElementTree.SubElement(
            root, "detected_termlist", termid=row.id, term_search_time="1.0", oov_term_count="1"
        )
        for document, score in sorted(row.prediction.items()):
            ElementTree.SubElement(
                terms,
                "term",
                file=document,
                channel="1",
                tbeg="0.000",
                dur="0.00",
                score=f"{score:.4f}",
                decision="YES" if score > QBE_THRESHOLD else "NO",
            )
    ElementTree.indent(root)
    return "<?xml version='1.0' encoding='UTF-8'?>\n" + ElementTree.tostring(root, encoding="unicode") + "\n"
