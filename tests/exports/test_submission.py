"""``bench submit``: the files that s3prl's ``submit.py`` packs, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.store.records import RecordStore
from tests.helpers.command_line import bench, error_of
from tests.helpers.records import record

ANSWERS: dict[str, list[tuple[str, Any]]] = {
    "pr": [("1-2-0001", "AH B"), ("1-2-0000", "K AE T")],
    "asr": [("1-2-0000", "A CAT"), ("1-2-0001", "")],
    "ks": [("yes/a_nohash_0.wav", "yes"), ("_silence_/b.wav", "no")],
    "sid": [("id10001-v-00001", "speaker_0"), ("id10005-v-00001", "speaker_1250")],
    "ic": [("a", "activate ; lights ; kitchen")],
    "sf": [("Aditi-snips-test-1", "PLAY B-song JAZZ E-song")],
    "asv": [("id10270-v-00001 id10271-v-00002", 0.25)],
    "qbe": [("quesst14_eval_0001", {"quesst14_00002": 2.5, "quesst14_00001": -0.1})],
    "sd": [("mix", None)],
}
EXPECTED = {
    "pr_public/predict.ark": "1-2-0000 K AE T\n1-2-0001 AH B\n",
    "asr_public/predict.ark": "1-2-0000 A CAT\n1-2-0001 \n",
    "ks_public/predict.txt": "_silence_-b.wav no\nyes-a_nohash_0.wav yes\n",
    "sid_public/predict.txt": "id10001-v-00001 id10001\nid10005-v-00001 id11251\n",
    "ic_public/predict.csv": "a,activate,lights,kitchen\n",
    "sf_public/predict.ark": "Aditi-snips-test-1 PLAY B-song JAZZ E-song\n",
    "sv_public/predict.txt": "id10270-v-00001_id10271-v-00002 0.25\n",
    **{f"er_fold{fold}_public/predict.txt": f"Ses0{fold}F_000 neu\n" for fold in range(1, 6)},
}


def rows(answers: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    test = [{"id": name, "split": "test", "reference": "", "prediction": answer} for name, answer in answers]
    return [*test, {"id": "dev-only", "split": "dev", "reference": "", "prediction": "x"}]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    store = RecordStore(tmp_path / "run")
    for task, answers in ANSWERS.items():
        store.write(record("a", task), rows(answers))
    folds = [{**rows([(f"Ses0{fold + 1}F_000", "neu")])[0], "fold": fold} for fold in range(5)]
    store.write(record("a", "er"), folds)
    return tmp_path / "run"


def test_files_are_those_of_s3prls_submit(run: Path) -> None:
    done = bench("submit", str(run), "--any-data")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(run / "predict-a.zip") as archive:
        found = {name: archive.read(name).decode() for name in archive.namelist()}
    xml = found.pop("predict/qbe_public/benchmark.stdlist.xml")
    assert found == {f"predict/{path}": content for path, content in EXPECTED.items()}
    (terms,) = ElementTree.fromstring(xml.partition("\n")[2])
    assert terms.attrib["termid"] == "quesst14_eval_0001"
    assert [(one.attrib["file"], one.attrib["score"], one.attrib["decision"]) for one in terms] == [
        ("quesst14_00001", "-0.1000", "NO"),
        ("quesst14_00002", "2.5000", "YES"),
    ]
    assert "sd: left out" in done.stdout


@pytest.mark.parametrize(
    ("task", "answers", "expected"),
    [
        ("ks", [("a/b.wav", "yes")], "3081"),
        ("asv", [("a b", 0.1)], "4708"),
        ("qbe", [("a", {"b": 0.0})], "138"),
        ("asr", [("a b", "x")], "without ' '"),
        ("asr", [("a", "x"), ("a", "y")], "repeated"),
        ("asr", [("a", "x\ny")], "one line"),
        ("asv", [("a b", None)], "diverged"),
        ("sid", [("a", "ann")], "speaker_0"),
        ("qbe", [("a", "b")], "every document"),
        ("pr", [], "Found none"),
    ],
)
def test_what_the_site_cannot_score_is_refused(tmp_path: Path, task: str, answers: Any, expected: str) -> None:
    RecordStore(tmp_path).write(record("a", task), rows(answers))
    line = error_of("submit", str(tmp_path), *([] if expected.isdecimal() else ["--any-data"]))
    assert expected in line
    assert len(line) <= 400
    assert not list(tmp_path.glob("*.zip"))


def test_all_documents_must_be_searched(tmp_path: Path) -> None:
    scores = {f"quesst14_{number:05d}": 0.0 for number in range(24)}
    answers = [(f"quesst14_eval_{number:04d}", scores) for number in range(138)]
    RecordStore(tmp_path).write(record("a", "qbe"), rows(answers))
    line = error_of("submit", str(tmp_path))
    assert "2438" in line
    assert "24." in line
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.parametrize(("folds", "is_refused"), [((0, 2), True), ((None,), False)])
def test_all_folds_must_be_tested(tmp_path: Path, folds: tuple[int | None, ...], is_refused: bool) -> None:
    answers = [{**rows([(f"Ses{fold}", "neu")])[0], "fold": fold} for fold in folds]
    RecordStore(tmp_path).write(record("a", "er"), answers)
    if is_refused:
        assert "0, 2" in error_of("submit", str(tmp_path), "--any-data")
    else:
        assert bench("submit", str(tmp_path), "--any-data").returncode == 0
    assert bool(list(tmp_path.glob("*.zip"))) != is_refused


def test_several_rows_need_a_choice(run: Path) -> None:
    RecordStore(run).write(record("b", "pr"), rows(ANSWERS["pr"]))
    assert "--model" in error_of("submit", str(run), "--any-data")
    assert "asr: left out" in bench("submit", str(run), "--any-data", "--model", "b").stdout
    assert "a, b" in error_of("submit", str(run), "--any-data", "--model", "c")
    assert "--seed" in error_of("submit", str(run), "--any-data", "--model", "b", "--seed", "1")
