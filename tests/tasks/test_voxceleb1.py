"""VoxCeleb1 is read as s3prl's recipe reads it, and refused in one line where it is unusable."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench.errors import UserError
from tasks.bridge import s3prl_compat
from tasks.corpora.voxceleb1 import SPLIT_FILE, VoxCeleb1Data, read_voxceleb1
from tasks.sid import SID

LINES = (
    "3 id10270/5r0dWxy17C8/00001.wav",
    "1 id10003/na8-QEFmj44/00003.wav",
    "1 id10003/K5zRxtXc27s/00012.wav",
    "2 id10003/_7hO.cX/00001.wav",
    "1 id10270/OmSWVqpb-N0/00001.wav",
    "2 id10270/8jEAjG6SegY/00008.wav",
    "3 id10003/bDxy7bnj_bc/00001.wav",
)


@pytest.fixture
def voxceleb1(tmp_path: Path, write_tone: Callable[..., None]) -> VoxCeleb1Data:
    """Two speakers, one in each part, and a video that the split file does not name."""
    root = tmp_path / "VoxCeleb1"
    for index, line in enumerate(LINES):
        path = line.partition(" ")[2]
        part = "dev" if path.startswith("id10003") else "test"
        write_tone(root / part / "wav" / path, 0.2 + 0.05 * index, 200.0)
    write_tone(root / "dev" / "wav" / "id10003" / "unused" / "00001.wav", 0.2, 200.0)
    (root / SPLIT_FILE).write_text("\n".join(LINES) + "\n")
    return VoxCeleb1Data(root=root)


def test_equals_what_s3prl_writes(voxceleb1: VoxCeleb1Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = s3prl_compat.recipe_class("s3prl.problem.common.superb_sid", "SuperbSID")
    from s3prl.dataio.corpus.voxceleb1sid import VoxCeleb1SID

    standard_usage = VoxCeleb1SID._get_standard_usage
    monkeypatch.setattr(
        VoxCeleb1SID, "_get_standard_usage", staticmethod(lambda root, _: standard_usage(root, voxceleb1.root))
    )
    recipe().prepare_data({"dataset_root": str(voxceleb1.root), "n_jobs": 1}, str(tmp_path), str(tmp_path))
    ours = read_voxceleb1(voxceleb1)
    for split, name in {"train": "train", "dev": "valid", "test": "test"}.items():
        theirs = s3prl_compat.read_csv(tmp_path / f"{name}.csv")
        pd.testing.assert_frame_equal(ours[split][list(theirs.columns)], theirs, check_dtype=False)


def test_tables_say_speaker_video_and_length(voxceleb1: VoxCeleb1Data) -> None:
    assert read_voxceleb1(voxceleb1)["dev"].drop(columns="wav_path").to_dict("records") == [
        {
            "id": "id10003-_7hO.cX-00001",
            "num_samples": 5600,
            "label": "speaker_2",
            "speaker": "id10003",
            "video": "_7hO.cX",
        },
        {
            "id": "id10270-8jEAjG6SegY-00008",
            "num_samples": 7200,
            "label": "speaker_269",
            "speaker": "id10270",
            "video": "8jEAjG6SegY",
        },
    ]


def remove_split_file(root: Path) -> None:
    (root / SPLIT_FILE).unlink()


def download_an_error_page(root: Path) -> None:
    (root / SPLIT_FILE).write_text("<html>Not found</html>")


def empty_split_file(root: Path) -> None:
    (root / SPLIT_FILE).write_text("")


def unknown_code(root: Path) -> None:
    (root / SPLIT_FILE).write_text(f"{LINES[0]}\n4 id10003/a/00001.wav\n")


def name_a_file_twice(root: Path) -> None:
    (root / SPLIT_FILE).write_text("\n".join((*LINES, LINES[0].replace("3 ", "1 ", 1))))


def remove_a_speaker(root: Path) -> None:
    shutil.rmtree(root / "test")


def remove_a_file(root: Path) -> None:
    next((root / "dev").rglob("00012.wav")).unlink()


def copy_to_the_other_part(root: Path) -> None:
    shutil.copytree(root / "dev", root / "test", dirs_exist_ok=True)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (remove_split_file, r"no iden_split\.txt there.*robots\.ox\.ac\.uk"),
        (download_an_error_page, r"in line 1 of .*Found '<html>"),
        (empty_split_file, r"none for train \(1\)"),
        (unknown_code, "in line 2 of"),
        (name_a_file_twice, "again in line 8"),
        (remove_a_speaker, r"3 missing, .* 1 speakers \(id10270"),
        (remove_a_file, r"K5zRxtXc27s/00012\.wav \(1 missing\)"),
        (copy_to_the_other_part, r"once in .*dev/wav.*test/wav"),
    ],
)
def test_an_unusable_corpus_is_refused_in_one_line(
    voxceleb1: VoxCeleb1Data, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(voxceleb1.root)
    with pytest.raises(UserError, match=told) as refusal:
        read_voxceleb1(voxceleb1)
    assert "\n" not in str(refusal.value)


def test_another_rate_is_refused_or_resampled(voxceleb1: VoxCeleb1Data, write_tone: Callable[..., None]) -> None:
    write_tone(next((voxceleb1.root / "dev").rglob("00012.wav")), 0.5, 200.0, 8000)
    with pytest.raises(UserError, match="Found 8000 Hz"):
        read_voxceleb1(voxceleb1)
    table = read_voxceleb1(voxceleb1.model_copy(update={"resample": True}))["train"]
    assert table.set_index("id")["num_samples"]["id10003-K5zRxtXc27s-00012"] == 8000


def test_a_speaker_whom_training_never_hears_is_told(voxceleb1: VoxCeleb1Data) -> None:
    task = SID(SID.presets["paper"])
    assert {split: size.num_utterances for split, size in task.check(voxceleb1).items()} == {
        "train": 3,
        "dev": 2,
        "test": 2,
    }
    (voxceleb1.root / SPLIT_FILE).write_text("\n".join(line for line in LINES if not line.startswith("1 id10270")))
    with pytest.raises(UserError, match=r"Expected every speaker of test in train too, in .*Found 'id10270' in test"):
        task.check(voxceleb1)
