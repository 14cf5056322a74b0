"""Tables of reports: what is ranked together, what stands out, what is marked."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from bench.config.data import embedded
from bench.errors import UserError
from bench.leaderboard import discrimination
from bench.leaderboard.collate import leaderboard
from bench.leaderboard.comparable import Board, read_board
from bench.leaderboard.published import SOURCES
from bench.leaderboard.score import SIX_TASKS, SUPERB_ANCHORS
from bench.reports.tables.formats import report_csv
from bench.reports.tables.latex import table as latex_table
from bench.reports.tables.leaderboards import SECOND, Figure, Group, published_group, report_groups
from bench.reports.tables.selection import with_columns, with_names
from bench.reports.tables.sizes import by_size
from bench.store.latency import write_latency
from tests.helpers.records import standard_record
from tests.helpers.table_runs import ROWS, Write, best, groups_of, latency_of, means

SCORES = {"c": 0.6, "d": 0.5, "e": 0.65}


class TestChosenTasks:
    ROWS = {  # noqa: RUF012
        "mini-hubert": {"ks": {"accuracy": 0.9}, "sid": {"accuracy": 0.3}},
        "fbank": {"ks": {"accuracy": 0.5}, "sid": {"accuracy": 0.6}},
    }

    def test_other_tasks_neither_stand_in_the_table_nor_count_in_the_score(self, write_rows: Write) -> None:
        folder = write_rows(self.ROWS, "one")
        assert read_board(folder).table["relative_score"].isna().all()
        board = read_board(folder, tasks=("ks",))
        assert board.table.set_index("model")["relative_score"].to_dict() == {"mini-hubert": 100, "fbank": 0}
        assert not [name for name in board.table if name.startswith("sid")]

    def test_a_task_without_records_is_refused(self, write_rows: Write) -> None:
        with pytest.raises(UserError, match=r"--tasks er: .* ks, sid"):
            read_board(write_rows(self.ROWS, "one"), tasks=("ks", "er"))


class TestGroups:
    def test_runs_alike_share_a_ranking(self, write_rows: Write) -> None:
        (group,) = groups_of(write_rows(ROWS, "one"), write_rows({"c": ROWS["b"], "a": ROWS["a"]}, "two"))
        assert group.table["model"].tolist() == ["mini-hubert", "a (one)", "b", "c", "a (two)"]
        assert "one" in group.heading
        assert "two" in group.heading

    @pytest.mark.parametrize(
        "changes", [{"data": "mini-2"}, {"preset": "smoke"}, {"protocol": "s3prl"}, {"steps": 20}], ids=str
    )
    def test_what_differs_stands_apart(self, write_rows: Write, changes: dict[str, Any]) -> None:
        one, two = groups_of(write_rows(ROWS, "one"), write_rows(ROWS, "two", **changes))
        assert one.heading != two.heading
        if "steps" in changes:
            assert "Not to be ranked with one: tasks.asr.total_steps is 20 here and 10 there." in two.notes

    def test_an_older_version_of_the_corpora_is_marked_and_never_ranked_with_the_present_one(
        self, write_rows: Write
    ) -> None:
        present = embedded("mini").data().identity
        groups = groups_of(write_rows(ROWS, "old", data="mini-3-seed0"), write_rows(ROWS, "new", data=present))
        by_run = {"old" if "mini-3-seed0" in group.heading else "new": group for group in groups}
        assert {run: len(group.table) for run, group in by_run.items()} == {"old": 3, "new": 3}
        marked = {run for run, group in by_run.items() if any("version 3" in note for note in group.notes)}
        assert marked == {"old"}

    def test_a_task_that_cannot_separate_bad_compression_is_marked(
        self, write_rows: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        weak, strong = {("mini-4-seed0", "ks"): 3.2}, {("mini-4-seed0", "ks"): 7.0}
        run = write_rows(ROWS, "marked", data="mini-4-seed0")
        for measured, is_marked in ((weak, True), (strong, False), ({}, False)):
            monkeypatch.setattr(discrimination, "measured", lambda measured=measured: measured)
            (group,) = groups_of(run)
            assert any("ks (3.2 standard errors)" in note for note in group.notes) == is_marked
        monkeypatch.setattr(discrimination, "measured", lambda: weak)
        (own,) = groups_of(write_rows(ROWS, "own", data="own"))
        assert not any("standard errors" in note for note in own.notes)

    def test_the_users_own_data_of_a_similar_name_are_not_marked(self, write_rows: Write) -> None:
        (group,) = groups_of(write_rows(ROWS, data="mini-3-speakers"))
        assert not any("version" in note for note in group.notes)

    def test_other_audio_of_the_same_name_stands_apart(self, write_rows: Write) -> None:
        one, two = write_rows(ROWS, "one", audio_sha256="a" * 64), write_rows(ROWS, "two", audio_sha256="b" * 64)
        first, second = groups_of(one, two)
        apart = "Not to be ranked with one: the audio of asr differs in bits."
        assert set(second.notes) - set(first.notes) == {apart}

    def test_runs_of_one_name_are_told_apart(self, write_rows: Write) -> None:
        one, two = write_rows(ROWS, "x/run"), write_rows(ROWS, "y/run")
        (group,) = groups_of(one, two, one)
        assert group.table["source"].tolist() == ["x/run", "y/run", *["x/run"] * 2, *["y/run"] * 2]

    def test_a_paper_run_tells_why_it_is_not_superb_s(self, write_rows: Write) -> None:
        (group,) = groups_of(write_rows(ROWS, preset="paper", protocol="s3prl"))
        assert any("ks: an unknown number of test utterances, not 3,081" in note for note in group.notes)

    def test_relative_scores_over_other_tasks_have_no_best(self, write_rows: Write) -> None:
        fbank = {"ks": {"accuracy": 0.5}, "asr": {"wer": 0.8, "cer": 0.8}}
        rows = {**ROWS, "fbank": fbank}
        alike, fewer = write_rows(rows, "alike"), write_rows({row: {"ks": rows[row]["ks"]} for row in rows}, "fewer")
        (ranked,) = groups_of(write_rows(rows), alike)
        (unranked,) = groups_of(alike, fewer)
        assert best(ranked, "relative_score")
        assert not best(unranked, "relative_score")
        assert best(unranked, "ks_accuracy")
        assert any("have no rank" in note for note in unranked.notes)

    def test_the_csv_tells_rankings_apart(self, write_rows: Write) -> None:
        runs = write_rows(ROWS, "b"), write_rows(ROWS, "a"), write_rows(ROWS, "c", steps=20)
        rows = list(csv.DictReader(io.StringIO(report_csv(groups_of(*runs)))))
        assert {(row["source"], row["ranking"]) for row in rows} == {("b", "a"), ("a", "a"), ("c", "c")}

    def test_a_folder_without_a_run_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"Found no config\.yaml"):
            read_board(tmp_path)


class TestPublished:
    def test_they_never_join_other_data(self, write_rows: Write) -> None:
        own, published = groups_of(write_rows(ROWS), with_published=True)
        assert not any(own.is_published)
        assert all(published.is_published)
        assert "Published" in published.heading
        assert "superb_score" not in {column.key for column in own.columns}

    def test_beside_rows_on_superb_s_corpora_they_are_marked(self, tmp_path: Path) -> None:
        records = tuple(standard_record(task) for task in SIX_TASKS)
        config = {"data": {"tasks": {}}, "tasks": {}}
        board = Board(tmp_path, "mine", leaderboard(records), means(records), records, config)
        (group,) = report_groups([board], with_published=True)
        assert "SUPERB's corpora" in group.heading
        assert group.is_published == [False] + [True] * 45
        names = [row["model"] for row in group.rows()]
        assert names[0] == "model"
        assert "DPHuBERT [D, L, S]" in names
        assert [note[:3] for note in group.notes if note.startswith("[")] == [f"[{letter}]" for letter in SOURCES]
        assert group.rows()[0]["superb6_score"] == Figure(pytest.approx(1000))

    def test_dev_scores_never_stand_beside_them(self, tmp_path: Path) -> None:
        records = tuple(
            record.model_copy(update={"scores": {"dev": record.scores["test"]}})
            for record in map(standard_record, SIX_TASKS)
        )
        config = {"teacher": None, "data": {"tasks": {}}, "tasks": {}}
        board = Board(tmp_path, "mine", leaderboard(records, "dev"), means(records, "dev"), records, config, "dev")
        own, published = report_groups([board], with_published=True)
        assert "dev split" in own.heading
        assert "superb6_score" not in {column.key for column in own.columns}
        assert all(published.is_published)
        assert set(own.table["split"]) == {"dev"}

    def test_all_ten_tasks_and_the_score_as_printed(self) -> None:
        group = published_group()
        assert {f"{task}_{metric}" for task, metrics in SUPERB_ANCHORS.items() for metric in metrics} <= {
            column.key for column in group.columns
        }
        texts = {row["model"]: row for row in group.texts()}
        assert texts["HuBERT Base [D, L, A]"]["SUPERB score ↑"] == "941"
        assert texts["DPHuBERT [D, L, S]"]["PR PER (%) ↓"] == "9.67"

    @pytest.mark.parametrize(
        ("model", "params", "macs"),
        [
            ("HuBERT Base [D, L, A]", "94.68", "1669"),
            ("DPHuBERT [D, L, S]", "23.59", "654.1"),
            ("FBANK [D, S]", "0", "0.5"),
        ],
    )
    def test_sizes_have_no_digit_that_was_not_printed(self, model: str, params: str, macs: str) -> None:
        group = published_group()
        (row,) = (row for row in group.texts() if row["model"] == model)
        assert (row["params (M)"], row["MACs (SUPERB, G)"]) == (params, macs)
        assert "1669.0" not in latex_table(group)


class TestBest:
    def test_the_best_of_compressed_rows_as_printed(self, write_rows: Write) -> None:
        rows = {**ROWS, "c": {"ks": {"accuracy": 0.800001}, "asr": {"wer": 0.9, "cer": 0.0}}}
        (group,) = groups_of(write_rows(rows))
        assert group.table["model"].tolist() == ["mini-hubert", "a", "b", "c"]
        assert best(group, "ks_accuracy") == {1, 3}
        assert best(group, "asr_wer") == {2}
        assert best(group, "params") == set()

    def test_one_compressed_row_has_no_rival(self, write_rows: Write) -> None:
        (group,) = groups_of(write_rows({name: ROWS[name] for name in ("mini-hubert", "a")}))
        assert best(group, "ks_accuracy") == set()

    def test_what_is_no_smaller_than_its_teacher_has_no_rival(self) -> None:
        group = published_group()
        names = group.table["model"].tolist()
        stage1 = names.index("LightHuBERT Stage1")  # A supernet of 95 million parameters, better than all below it.
        assert group.table["superb_score"][stage1] > group.table["superb_score"][names.index("DPWavLM")]
        assert not {position for position, _ in group.marks} & {stage1}
        # Of 32 and 31, of 27 to 26, and of 24 to 22 million parameters.
        assert {names[row] for row in best(group, "asr_wer")} == {"FitW2V2", "LightHuBERT Small", "STaRHuBERT"}
        assert {names[row] for row in best(group, "superb_score")} == {"3-Layer One", "LightHuBERT Small", "DPWavLM"}

    @pytest.mark.parametrize(
        ("sparsity", "size_bytes", "competes"),
        [(0.75, 1_000_000, True), (0.05, 3_800_000, False), (0.0, 1_100_000, True), (0.0, 4_000_000, False)],
    )
    def test_weights_of_fewer_bits_are_smaller_too(
        self, write_rows: Write, sparsity: float, size_bytes: int, competes: bool
    ) -> None:
        (group,) = groups_of(write_rows(ROWS))
        # The second row is of the third one's size, and smaller than its teacher, which has more parameters.
        table = group.table.assign(sparsity=[None, 0.5, sparsity], size_bytes=[4_000_000, size_bytes, size_bytes])
        table = table.assign(params=[1_000_000, size_bytes // 4, round(1_000_000 * (1 - sparsity))])
        rows = Group(group.heading, table, group.columns)
        assert best(rows, "asr_wer") == ({2} if competes else set())

    def test_bytes_are_shown_where_parameters_do_not_tell_them(self, write_rows: Write) -> None:
        (group,) = groups_of(write_rows(ROWS))
        assert "size_bytes" not in {column.key for column in group.columns}
        (group,) = groups_of(write_rows(ROWS, name="int8", bytes_a_weight=1))
        assert group.texts()[1]["size (MB)"] == "0.5"

    def test_rows_compete_with_those_of_their_size(self, write_rows: Write) -> None:
        rows = {
            **ROWS,
            **{name: {"ks": {"accuracy": score}, "asr": {"wer": 0.5, "cer": 0.2}} for name, score in SCORES.items()},
        }
        (group,) = groups_of(write_rows(rows))
        names = ["mini-hubert", *"cedab"]
        table = group.table.set_index("model").loc[names].reset_index()
        table["size_bytes"] = [4e6, 1.0e6, 0.95e6, 0.91e6, 2e6, 1.9e6]
        rows = Group(group.heading, by_size(table), group.columns)
        assert rows.table["model"].tolist() == ["mini-hubert", *"abced"]
        assert rows.sizes == [0, 1, 1, 2, 2, 2]
        assert best(rows, "ks_accuracy") == {1, 4}
        # Only the second of three, for the loser of two is no second best.
        assert best(rows, "ks_accuracy", SECOND) == {3}
        assert best(rows, "asr_wer") == {2, 3, 4, 5}

    def test_models_as_they_are_compete_among_themselves(self, write_rows: Write) -> None:
        (group,) = groups_of(write_rows({"mini-hubert": ROWS["mini-hubert"], "fbank": ROWS["a"]}))
        assert best(group, "ks_accuracy") == {0}


class TestColumns:
    def test_sparsity_and_seeds(self, write_rows: Write) -> None:
        folder = write_rows(ROWS, seeds=3, sparsity=0.75)
        (group,) = groups_of(folder)
        assert [row["sparsity (%)"] for row in group.texts()] == ["", "75.0", "75.0"]
        assert [row["seeds"] for row in group.texts()] == ["3"] * 3

    def test_chosen_ones_have_the_names_of_the_csv(self, write_rows: Write) -> None:
        (group,) = with_columns(groups_of(write_rows(ROWS)), ["asr_cer", "params", "size_bytes", "ks_seeds"])
        assert group.texts()[1] == {
            "model": "a",
            "ASR CER (%) ↓": "20.00",
            "params (M)": "0.50",
            "size (MB)": "2.0",
            "ks seeds": "1",
        }

    def test_an_unknown_one_is_refused(self, write_rows: Write) -> None:
        with pytest.raises(UserError, match=r"--columns: .*'parms'.* Did you mean 'params'"):
            with_columns(groups_of(write_rows(ROWS)), ["parms"])

    def test_other_names(self, write_rows: Write) -> None:
        (group,) = groups_of(write_rows({"dphubert-0.75": ROWS["a"], "my-dphubert": ROWS["b"]}))
        group = with_names(group, {"dphubert": "DPHuBERT", "my-dphubert": "mine", "ks_accuracy": "Keywords"})
        assert [(row["model"], row["compressor"]) for row in group.texts()] == [
            ("DPHuBERT-0.75", "DPHuBERT"),
            ("mine", "DPHuBERT"),
        ]
        assert "Keywords ↑" in group.texts()[0]
        assert [model for _, model in group.row_keys()] == ["dphubert-0.75", "my-dphubert"]


class TestFigures:
    def test_means_with_their_deviations(self, write_rows: Write) -> None:
        (group,) = groups_of(write_rows(ROWS, seeds=2))
        texts = group.texts()[1]
        assert texts["KS acc. (%) ↑"] == "80.50 ± 0.71"
        assert texts["params (M)"] == "0.50"
        assert texts["MACs (G)"] == "49.0"

    def test_only_primary_metrics(self, write_rows: Write) -> None:
        (group,) = groups_of(write_rows(ROWS))
        assert [column.key for column in group.columns] == [
            "model",
            "compressor",
            "teacher",
            "params",
            "macs",
            "asr_wer",
            "ks_accuracy",
        ]

    def test_the_relative_score_of_a_run_with_filter_banks(self, write_rows: Write) -> None:
        rows = {**ROWS, "fbank": {"ks": {"accuracy": 0.5}, "asr": {"wer": 0.8, "cer": 0.8}}}
        (group,) = groups_of(write_rows(rows))
        relative = {row["model"]: row["relative_score"] for row in group.rows()}
        assert relative["mini-hubert"] == Figure(pytest.approx(100))
        assert relative["a"] == Figure(pytest.approx(100 * (0.3 / 0.4 + 0.4 / 0.5) / 2))

    def test_the_real_time_factor_where_it_was_measured(self, write_rows: Write) -> None:
        folder = write_rows(ROWS)
        write_latency(folder, latency_of("a", cpu="x"))
        (group,) = groups_of(folder)
        assert [row["RTF ↓"] for row in group.texts()] == ["", "0.0123", ""]
        assert "Real-time factors: one thread of x, torch 2." in group.notes
        write_latency(folder, latency_of("b", cpu="y"))
        (group,) = groups_of(folder)
        apart = "Real-time factors of different machines have no rank: x, torch 2 (a); y, torch 2 (b)."
        assert apart in group.notes
