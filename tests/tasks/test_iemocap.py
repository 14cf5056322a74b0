"""IEMOCAP is read and split as s3prl's recipe does it, and refused in one line where it is unusable."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.contracts import Context
from bench.errors import UserError
from tasks.bridge import s3prl_compat
from tasks.corpora.iemocap import IEMOCAPData, read_iemocap, split_for_session
from tasks.er import ER

EMOTIONS = ("neu", "exc", "ang", "fru", "sad", "hap", "xxx")
DIALOGS = ("impro01", "script01_1")
HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


@pytest.fixture
def iemocap(tmp_path: Path, write_tone: Callable[..., None]) -> IEMOCAPData:
    """Two dialogs a session, evaluated as in the real corpus: turns in the order of time, not of names."""
    root = tmp_path / "IEMOCAP_full_release"
    for session in range(1, 6):
        for dialog in DIALOGS:
            name = f"Ses{session:02d}F_{dialog}"
            text = HEADER
            for index, emotion in enumerate(EMOTIONS):
                turn = f"{name}_{'FM'[index % 2]}{index // 2:03d}"
                write_tone(root / f"Session{session}/sentences/wav/{name}/{turn}.wav", 0.2 + 0.01 * index, 200.0)
                text += f"[{index}.2901 - {index}.5000]\t{turn}\t{emotion}\t[2.5000, 2.5000, 2.5000]\n"
                text += (
                    "C-E2:\tNeutral;\t()\nC-F1:\tAnger; Other;\t(a bit ironic)\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"
                )
            evaluations = root / f"Session{session}/dialog/EmoEvaluation"
            (evaluations / "Categorical").mkdir(parents=True, exist_ok=True)
            (evaluations / f"{name}.txt").write_text(text)
    # What archives made on a Mac bring along.
    hidden = root / "Session1/sentences/wav/Ses01F_impro01/._Ses01F_impro01_F000.wav"
    hidden.write_bytes(b"\0\5\x16\7")
    return IEMOCAPData(root=root)


def write_metadata(folder: Path, session: int, train: list[str], test: list[str]) -> None:
    """As s3prl's `IEMOCAP_preprocess` does."""
    folder = folder / f"Session{session}"
    folder.mkdir(parents=True)
    for part, names in (("train", train), ("test", test)):
        entries = [{"path": f"Session{name[4]}/sentences/wav/{name[:-5]}/{name}.wav"} for name in names]
        (folder / f"{part}_meta_data.json").write_text(json.dumps({"labels": {}, "meta_data": entries}))


class TestUtterances:
    def test_kept_emotions_with_all_that_is_known(self, iemocap: IEMOCAPData) -> None:
        table = read_iemocap(iemocap)
        assert len(table) == 5 * len(DIALOGS) * 5
        assert table["label"].tolist()[:5] == ["neu", "hap", "ang", "sad", "hap"]
        assert table.iloc[6].drop("wav_path").to_dict() == {
            "id": "Ses01F_script01_1_M000",
            "num_samples": 3360,
            "label": "hap",
            "emotion": "exc",
            "speaker": "Ses01M",
            "session": 1,
            "act": "scripted",
            "dialog": "Ses01F_script01_1",
        }

    def test_equal_those_of_s3prl(self, iemocap: IEMOCAPData) -> None:
        s3prl_compat.install()
        from s3prl.dataio.corpus.iemocap import IEMOCAP

        theirs = IEMOCAP(str(iemocap.root)).all_data
        kept = {name: one for name, one in theirs.items() if one["emotion"] in {"neu", "hap", "exc", "ang", "sad"}}
        ours = read_iemocap(iemocap).set_index("id")
        assert set(ours.index) == set(kept)
        for name, one in kept.items():
            assert ours.loc[name, ["emotion", "act", "session", "wav_path"]].tolist() == [
                one["emotion"],
                one["act"],
                one["session_id"],
                one["wav_path"],
            ]


class TestFolds:
    @pytest.mark.parametrize("test_session", [1, 4])
    def test_equal_those_of_s3prl_on_its_metadata(
        self, iemocap: IEMOCAPData, tmp_path: Path, test_session: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = read_iemocap(iemocap)
        names = table["id"].sample(frac=1, random_state=3).tolist()
        train = [name for name in names if int(name[4]) != test_session]
        test = [name for name in names if int(name[4]) == test_session]
        write_metadata(iemocap.root / "meta_data", test_session, train, test)
        for part in ("train", "test"):
            shutil.copy(
                iemocap.root / "meta_data" / f"Session{test_session}" / f"{part}_meta_data.json",
                tmp_path / f"test_session{test_session}_{part}_metadata.json",
            )
        recipe = s3prl_compat.recipe_class("s3prl.problem.common.superb_er", "SuperbER")
        recipe().prepare_data(
            {"iemocap": str(iemocap.root), "test_fold": test_session - 1}, str(tmp_path), str(tmp_path)
        )
        ours = split_for_session(iemocap, table, test_session)
        for split, name in {"train": "train", "dev": "valid", "test": "test"}.items():
            theirs = s3prl_compat.read_csv(tmp_path / f"{name}.csv")
            assert ours[split]["id"].tolist() == theirs["id"].tolist()
            assert ours[split]["label"].tolist() == theirs["label"].tolist()
            assert ours[split]["wav_path"].tolist() == theirs["wav_path"].tolist()

    def test_layer_weights_are_the_mean_over_folds(
        self, iemocap: IEMOCAPData, upstream: Any, tmp_path: Path, write_tone: Callable[..., None]
    ) -> None:
        for path in sorted(iemocap.root.glob("Session1/sentences/wav/*/Ses*.wav")):
            write_tone(path, 0.3, 3000.0)
        config = ER.presets["smoke"].model_copy(update={"folds": (0, 1), "learning_rate": 0.1})
        settings = ER(config).evaluate(upstream, iemocap, tmp_path / "w", Context(protocol="s3prl")).settings
        first, second = (settings["folds"][fold]["layer_weights"] for fold in (0, 1))
        assert max(abs(a - b) for a, b in zip(first, second, strict=True)) > 1e-4
        assert settings["layer_weights"] == pytest.approx([(a + b) / 2 for a, b in zip(first, second, strict=True)])

    def test_without_metadata_one_session_is_tested_and_a_fifth_of_the_others_is_dev(
        self, iemocap: IEMOCAPData
    ) -> None:
        table = read_iemocap(iemocap)
        folds = [split_for_session(iemocap, table, session) for session in range(1, 6)]
        for session, fold in enumerate(folds, start=1):
            assert set(fold["test"]["session"]) == {session}
            assert [len(fold[split]) for split in ("train", "dev", "test")] == [32, 8, 10]
            assert sorted(pd.concat(fold.values())["id"]) == sorted(table["id"])
        again = split_for_session(iemocap, table, 1)
        pd.testing.assert_frame_equal(again["dev"], folds[0]["dev"])
        assert len(set(folds[0]["dev"]["session"])) > 1

    def test_metadata_of_another_release_is_refused(self, iemocap: IEMOCAPData) -> None:
        write_metadata(iemocap.root / "meta_data", 2, ["Ses01F_impro01_F000", "Ses01F_impro09_F000"], [])
        with pytest.raises(UserError, match=r"Found no Ses01F_impro09_F000 .*1 missing"):
            split_for_session(iemocap, read_iemocap(iemocap), 2)

    def test_damaged_metadata_is_refused(self, iemocap: IEMOCAPData) -> None:
        write_metadata(iemocap.root / "meta_data", 2, [], [])
        (iemocap.root / "meta_data" / "Session2" / "train_meta_data.json").write_text('{"meta_data": [')
        with pytest.raises(UserError, match=r"Expected JSON in .*train_meta_data.json"):
            split_for_session(iemocap, read_iemocap(iemocap), 2)


def remove_session(root: Path) -> None:
    shutil.rmtree(root / "Session3")


def remove_evaluation(root: Path) -> None:
    (root / "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt").unlink()


def remove_audio(root: Path) -> None:
    (root / "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F001.wav").unlink()


def remove_line(root: Path) -> None:
    file = root / "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "_F001\t" not in line))


def no_sadness(root: Path) -> None:
    for file in (root / "Session5/dialog/EmoEvaluation").glob("*.txt"):
        file.write_text(file.read_text().replace("\tsad\t", "\tfru\t"))


def repeat_a_line(root: Path) -> None:
    file = root / "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt"
    file.write_text(file.read_text() * 2)


def other_encoding(root: Path) -> None:
    (root / "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt").write_bytes("é".encode("latin-1"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (remove_session, "Found no .*Session3"),
        (remove_evaluation, r"Ses02F_impro01\.txt.*no such file"),
        (remove_audio, r"Found no Ses02F_impro01_F001\.wav"),
        (remove_line, "Ses02F_impro01_F001<tab>emotion"),
        (no_sadness, "Session5. Found none of sad"),
        (repeat_a_line, "Ses02F_impro01_F000 twice"),
        (other_encoding, "Expected UTF-8"),
    ],
)
def test_an_unusable_corpus_is_refused_in_one_line(
    iemocap: IEMOCAPData, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(iemocap.root)
    with pytest.raises(UserError, match=told) as refusal:
        read_iemocap(iemocap)
    assert "\n" not in str(refusal.value)


def test_another_rate_is_refused_or_resampled(iemocap: IEMOCAPData, write_tone: Callable[..., None]) -> None:
    write_tone(iemocap.root / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav", 0.5, 200.0, 8000)
    with pytest.raises(UserError, match="Found 8000 Hz"):
        read_iemocap(iemocap)
    table = read_iemocap(iemocap.model_copy(update={"resample": True}))
    assert table["num_samples"][0] == 8000
