"""Tables of reports: what is ranked together, what stands out, what is marked."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt

from bench.errors import UserError
from bench.leaderboard.collate import leaderboard, write_leaderboard
from bench.leaderboard.comparable import Board, read_board, read_boards
from bench.leaderboard.published import SOURCES
from bench.leaderboard.score import SIX_TASKS, SUPERB_ANCHORS
from bench.report.tables.formats import report_csv
from bench.report.tables.latex import document
from bench.report.tables.latex import table as latex_table
from bench.report.tables.leaderboards import Figure, Group, published_group, report_groups
from bench.report.tables.markdown import markdown
from bench.report.tables.verification import differences, read_csv_cells
from bench.store.latency import LatencyRecord, Machine, Spread, Timing, write_latency
from bench.store.records import Cell, ModelCard, Record, RecordStore
from bench.text import printable
from tests.helpers.command_line import bench, error_of
from tests.helpers.records import standard_record

HOSTILE = [
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1+2",
    "@SUM(A1)",
    "\t=1",
    "a_b % & # $x$ {y} ~ ^ \\input{/etc/passwd}",
    "a\nb | c",
    "[x](javascript:alert(1)) ![i](http://e.vil) *b* `c` <a@b.c> https://e.vil &lt;",
    "Müller 中文 \u200b ﷽ ---",
    "\\\\ \\hline",
    "_x_ __y__ ~~z~~",
]


Write = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    """Write a run's folder with the records of its rows: model to task to metric to score, one seed or several."""

    def write(
        rows: Mapping[str, Mapping[str, Mapping[str, float]]],
        name: str = "run",
        seeds: int = 1,
        steps: int = 10,
        teacher: str = "mini-hubert",
        bytes_a_weight: int = 4,
        **changes: Any,
    ) -> Path:
        folder = tmp_path / name
        tasks = {task for scores in rows.values() for task in scores}
        references = {row: row for row in rows if row in ("mini-hubert", "fbank")}
        config = {
            "teacher": teacher,
            "data": {"tasks": {task: {"layout": "manifest", "manifest": "mine.csv"} for task in sorted(tasks)}},
            "preset": "mini",
            "models": {row: {"reference": references.get(row)} for row in rows},
            "tasks": {task: {"total_steps": steps} for task in sorted(tasks)},
            "seeds": list(range(seeds)),
        }
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        for row, scores in rows.items():
            is_own = row in references
            params = 2_000_000 if is_own else 500_000
            card = ModelCard(
                compressor="none" if is_own else "dphubert",
                teacher=None if is_own else teacher,
                params=params,
                size_bytes=params * (4 if is_own else bytes_a_weight),
                macs=49_000_000_000,
            )
            for task, values in scores.items():
                for seed in range(seeds):
                    record = Record(
                        cell=Cell(model=row, task=task, seed=seed),
                        card=card,
                        scores={"test": {metric: value + 0.01 * seed for metric, value in values.items()}},
                        settings={},
                        provenance={},
                        **({"preset": "mini", "data": "mini-1", "protocol": "cached"} | changes),
                    )
                    RecordStore(folder).write(record, [])
        write_leaderboard(read_board(folder).table, folder)
        return folder

    return write


ROWS = {
    "mini-hubert": {"ks": {"accuracy": 0.9}, "asr": {"wer": 0.3, "cer": 0.1}},
    "a": {"ks": {"accuracy": 0.8}, "asr": {"wer": 0.4, "cer": 0.2}},
    "b": {"ks": {"accuracy": 0.7}, "asr": {"wer": 0.35, "cer": 0.2}},
}


def groups_of(*folders: Path, **options: Any) -> list[Group]:
    return report_groups(read_boards(folders), **options)


def column(group: Group, key: str) -> Any:
    return next(column for column in group.columns if column.key == key)


class TestChosenTasks:
    ROWS = {  # noqa: RUF012
        "mini-hubert": {"ks": {"accuracy": 0.9}, "sid": {"accuracy": 0.3}},
        "fbank": {"ks": {"accuracy": 0.5}, "sid": {"accuracy": 0.6}},
    }

    def test_other_tasks_neither_stand_in_the_table_nor_count_in_the_score(self, write_run: Write) -> None:
        folder = write_run(self.ROWS, "one")
        assert read_board(folder).table["relative_score"].isna().all()
        board = read_board(folder, tasks=("ks",))
        assert board.table.set_index("model")["relative_score"].to_dict() == {"mini-hubert": 100, "fbank": 0}
        assert not [name for name in board.table if name.startswith("sid")]

    def test_a_task_without_records_is_refused(self, write_run: Write) -> None:
        with pytest.raises(UserError, match=r"--tasks er: .* ks, sid"):
            read_board(write_run(self.ROWS, "one"), tasks=("ks", "er"))


class TestGroups:
    def test_runs_alike_share_a_ranking(self, write_run: Write) -> None:
        (group,) = groups_of(write_run(ROWS, "one"), write_run({"c": ROWS["b"], "a": ROWS["a"]}, "two"))
        assert group.table["model"].tolist() == ["mini-hubert", "a (one)", "b", "c", "a (two)"]
        assert "one" in group.heading
        assert "two" in group.heading

    @pytest.mark.parametrize(
        "changes", [{"data": "mini-2"}, {"preset": "smoke"}, {"protocol": "s3prl"}, {"steps": 20}], ids=str
    )
    def test_what_differs_stands_apart(self, write_run: Write, changes: dict[str, Any]) -> None:
        one, two = groups_of(write_run(ROWS, "one"), write_run(ROWS, "two", **changes))
        assert one.heading != two.heading
        if "steps" in changes:
            assert "Not to be ranked with one: tasks.asr.total_steps is 20 here and 10 there." in two.notes

    def test_other_audio_of_the_same_name_stands_apart(self, write_run: Write) -> None:
        one, two = write_run(ROWS, "one", audio_sha256="a" * 64), write_run(ROWS, "two", audio_sha256="b" * 64)
        first, second = groups_of(one, two)
        apart = "Not to be ranked with one: the audio of asr differs in bits."
        assert set(second.notes) - set(first.notes) == {apart}

    def test_runs_of_one_name_are_told_apart(self, write_run: Write) -> None:
        one, two = write_run(ROWS, "x/run"), write_run(ROWS, "y/run")
        (group,) = groups_of(one, two, one)
        assert group.table["source"].tolist() == ["x/run"] * 3 + ["y/run"] * 3

    def test_a_paper_run_tells_why_it_is_not_superb_s(self, write_run: Write) -> None:
        (group,) = groups_of(write_run(ROWS, preset="paper", protocol="s3prl"))
        assert any("ks: an unknown number of test utterances, not 3,081" in note for note in group.notes)

    def test_relative_scores_over_other_tasks_have_no_best(self, write_run: Write) -> None:
        fbank = {"ks": {"accuracy": 0.5}, "asr": {"wer": 0.8, "cer": 0.8}}
        rows = {**ROWS, "fbank": fbank}
        alike, fewer = write_run(rows, "alike"), write_run({row: {"ks": rows[row]["ks"]} for row in rows}, "fewer")
        (ranked,) = groups_of(write_run(rows), alike)
        (unranked,) = groups_of(alike, fewer)
        assert ranked.best(column(ranked, "relative_score"))
        assert not unranked.best(column(unranked, "relative_score"))
        assert unranked.best(column(unranked, "ks_accuracy"))
        assert any("have no rank" in note for note in unranked.notes)

    def test_the_csv_tells_rankings_apart(self, write_run: Write) -> None:
        runs = write_run(ROWS, "b"), write_run(ROWS, "a"), write_run(ROWS, "c", steps=20)
        rows = list(csv.DictReader(io.StringIO(report_csv(groups_of(*runs)))))
        assert {(row["source"], row["ranking"]) for row in rows} == {("b", "a"), ("a", "a"), ("c", "c")}

    def test_a_folder_without_a_run_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"Found no config\.yaml"):
            read_board(tmp_path)


class TestPublished:
    def test_they_never_join_other_data(self, write_run: Write) -> None:
        own, published = groups_of(write_run(ROWS), with_published=True)
        assert not any(own.is_published)
        assert all(published.is_published)
        assert "Published" in published.heading
        assert "superb_score" not in {column.key for column in own.columns}

    def test_beside_rows_on_superb_s_corpora_they_are_marked(self, tmp_path: Path) -> None:
        records = tuple(standard_record(task) for task in SIX_TASKS)
        config = {"data": {"tasks": {}}, "tasks": {}}
        board = Board(tmp_path, "mine", leaderboard(records), records, config)
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
        board = Board(tmp_path, "mine", leaderboard(records, "dev"), records, config, "dev")
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
    def test_the_best_of_compressed_rows_as_printed(self, write_run: Write) -> None:
        rows = {**ROWS, "c": {"ks": {"accuracy": 0.800001}, "asr": {"wer": 0.9, "cer": 0.0}}}
        (group,) = groups_of(write_run(rows))
        assert group.table["model"].tolist() == ["mini-hubert", "a", "b", "c"]
        assert group.best(column(group, "ks_accuracy")) == {1, 3}
        assert group.best(column(group, "asr_wer")) == {2}
        assert group.best(column(group, "params")) == frozenset()

    def test_one_compressed_row_has_no_rival(self, write_run: Write) -> None:
        (group,) = groups_of(write_run({name: ROWS[name] for name in ("mini-hubert", "a")}))
        assert group.best(column(group, "ks_accuracy")) == frozenset()

    def test_what_is_no_smaller_than_its_teacher_has_no_rival(self) -> None:
        group = published_group()
        names = group.table["model"].tolist()
        stage1 = names.index("LightHuBERT Stage1")  # A supernet of 95 million parameters, better than all below it.
        best = {key: {names[row] for row in group.best(column(group, key))} for key in ("superb_score", "asr_wer")}
        assert group.table["superb_score"][stage1] > group.table["superb_score"][names.index("DPWavLM")]
        assert best == {"superb_score": {"DPWavLM"}, "asr_wer": {"LightHuBERT Small"}}

    @pytest.mark.parametrize(
        ("sparsity", "size_bytes", "competes"),
        [(0.75, 1_000_000, True), (0.05, 3_800_000, False), (0.0, 1_100_000, True), (0.0, 4_000_000, False)],
    )
    def test_weights_of_fewer_bits_are_smaller_too(
        self, write_run: Write, sparsity: float, size_bytes: int, competes: bool
    ) -> None:
        (group,) = groups_of(write_run(ROWS))
        table = group.table.assign(sparsity=[None, 0.5, sparsity], size_bytes=[4_000_000, 2_000_000, size_bytes])
        table = table.assign(params=[1_000_000, 500_000, round(1_000_000 * (1 - sparsity))])
        rows = Group(group.heading, table, group.columns)
        assert rows.best(column(rows, "asr_wer")) == ({2} if competes else frozenset())

    def test_bytes_are_shown_where_parameters_do_not_tell_them(self, write_run: Write) -> None:
        (group,) = groups_of(write_run(ROWS))
        assert "size_bytes" not in {column.key for column in group.columns}
        (group,) = groups_of(write_run(ROWS, name="int8", bytes_a_weight=1))
        assert group.texts()[1]["size (MB)"] == "0.5"

    def test_models_as_they_are_compete_among_themselves(self, write_run: Write) -> None:
        (group,) = groups_of(write_run({"mini-hubert": ROWS["mini-hubert"], "fbank": ROWS["a"]}))
        assert group.best(column(group, "ks_accuracy")) == {0}


class TestFigures:
    def test_means_with_their_deviations(self, write_run: Write) -> None:
        (group,) = groups_of(write_run(ROWS, seeds=2))
        texts = group.texts()[1]
        assert texts["KS acc. (%) ↑"] == "80.50 ± 0.71"
        assert texts["params (M)"] == "0.50"
        assert texts["MACs (G)"] == "49.0"

    def test_only_primary_metrics(self, write_run: Write) -> None:
        (group,) = groups_of(write_run(ROWS))
        assert [column.key for column in group.columns] == [
            "model",
            "compressor",
            "teacher",
            "params",
            "macs",
            "asr_wer",
            "ks_accuracy",
        ]

    def test_the_relative_score_of_a_run_with_filter_banks(self, write_run: Write) -> None:
        rows = {**ROWS, "fbank": {"ks": {"accuracy": 0.5}, "asr": {"wer": 0.8, "cer": 0.8}}}
        (group,) = groups_of(write_run(rows))
        relative = {row["model"]: row["relative_score"] for row in group.rows()}
        assert relative["mini-hubert"] == Figure(pytest.approx(100))
        assert relative["a"] == Figure(pytest.approx(100 * (0.3 / 0.4 + 0.4 / 0.5) / 2))

    def test_the_real_time_factor_where_it_was_measured(self, write_run: Write) -> None:
        folder = write_run(ROWS)
        write_latency(folder, latency_of("a", cpu="x"))
        (group,) = groups_of(folder)
        assert [row["RTF ↓"] for row in group.texts()] == ["", "0.0123", ""]
        assert "Real-time factors: one thread of x, torch 2." in group.notes
        write_latency(folder, latency_of("b", cpu="y"))
        (group,) = groups_of(folder)
        apart = "Real-time factors of different machines have no rank: x, torch 2 (a); y, torch 2 (b)."
        assert apart in group.notes


def latency_of(model: str, cpu: str) -> LatencyRecord:
    spread = Spread(median=0.0123, low=0.01, high=0.02, repeats=3)
    return LatencyRecord(
        model=model,
        row=model,
        measured="now",
        machine=Machine(cpu=cpu, num_cores=2, torch="2", system="Linux"),
        lengths_samples={"short": (1,)},
        cpu=Timing(device="cpu", num_threads=1, rtf=spread, latency_ms={"short": spread}, first_call_ms=1.0),
    )


def with_names(group: Group, names: list[str]) -> Group:
    table = pd.concat([group.table.iloc[:1]] * len(names), ignore_index=True).assign(model=names, teacher=names)
    return Group(names[0], table, group.columns, tuple(names))


class TestHostileNames:
    @pytest.fixture
    def group(self, write_run: Write) -> Group:
        return with_names(groups_of(write_run(ROWS))[0], HOSTILE)

    def test_csv_has_no_formula(self, group: Group) -> None:
        rows = list(csv.DictReader(io.StringIO(report_csv([group]), newline="")))
        assert len(rows) == len(HOSTILE)
        for row, name in zip(rows, HOSTILE, strict=True):
            assert row["model"] in (name, f"'{name}")
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())

    def test_markdown_shows_names_as_they_are(self, group: Group) -> None:
        tokens = MarkdownIt("commonmark", {"linkify": False}).enable("table").parse(markdown([group]))
        inline = [token for token in tokens if token.type == "inline"]
        kinds = {child.type for token in inline for child in token.children or []}
        assert kinds <= {"text", "text_special", "strong_open", "strong_close"}
        assert not any(token.type == "html_block" for token in tokens)
        shown = ["".join(child.content for child in token.children or []) for token in inline]
        for name in HOSTILE:
            assert shown.count(printable(" ".join(name.split()))) >= 3  # model, teacher, note

    def test_latex_commands_are_only_ours(self, group: Group) -> None:
        text = latex_table(group)
        assert "\\input" not in text
        assert "\\textbackslash{}input\\{/etc/passwd\\}" in text
        assert text.count("\n\\midrule") == 1
        body = text.partition("\\midrule\n")[2].partition("\\bottomrule")[0].splitlines()
        assert len(body) == len(HOSTILE)
        # Neither cells nor rows end early: one & a column but the first.
        for line in body:
            assert line.replace("\\&", "").count("&") == len(group.columns) - 1
            assert line.endswith(" \\\\")
        assert text.isascii() or set(filter(lambda letter: not letter.isascii(), text)) <= set("ü")


def test_long_tables_are_parted() -> None:
    group = published_group()
    assert latex_table(group).count("\\begin{table}") == 1
    table = pd.concat([group.table, group.table.iloc[:1]], ignore_index=True)
    first, second = latex_table(Group(group.heading, table, group.columns)).split("\\end{table}\n\n")
    assert [part.count("\\\\\n") for part in (first, second)] == [46, 2]  # With the heads.
    assert "(part 2 of 2)" in second
    assert "\\toprule" in second


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_the_document_compiles_as_it_stands(write_run: Write, tmp_path: Path) -> None:
    rows = {**ROWS, "fbank": {"ks": {"accuracy": 0.85}, "asr": {"wer": 0.8, "cer": 0.8}}}
    own, published = groups_of(write_run(rows, seeds=3), with_published=True)
    assert own.best(column(own, "ks_accuracy"))  # With deviations, in bold, and one relative score below zero.
    twice = pd.concat([published.table, published.table], ignore_index=True)
    long = Group(published.heading, twice, published.columns[:4], published.notes)  # Narrow, so its height counts.
    (tmp_path / "report.tex").write_text(document([own, published, with_names(own, HOSTILE), long]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:]
    log = (tmp_path / "report.log").read_text(errors="replace")
    assert not re.search(r"Warning|Overfull|Missing character|undefined", log), log
    assert "(5 pages" in log


@pytest.mark.slow
@pytest.mark.skipif(None in (shutil.which("pdflatex"), shutil.which("pdftotext")), reason="no pdflatex or pdftotext")
def test_seeds_that_agree_show_a_deviation_of_zero(write_run: Write, tmp_path: Path) -> None:
    (group,) = groups_of(write_run(ROWS, seeds=3))
    group.table["ks_accuracy_std"] = 0.0
    (tmp_path / "report.tex").write_text(document([group]), encoding="utf-8")
    subprocess.run(["pdflatex", "-interaction=batchmode", "report.tex"], cwd=tmp_path, capture_output=True, check=True)
    command = ["pdftotext", "-layout", "report.pdf", "-"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert shown.count("± 0.00") == len(group.table)


class TestVerification:
    def test_a_leaderboard_agrees_with_its_records(self, write_run: Write, tmp_path: Path) -> None:
        folder = write_run(ROWS, seeds=2)
        result = bench("report", "--verify", str(folder / "leaderboard.csv"))
        assert (result.returncode, result.stderr) == (0, "")
        assert "agrees with" in result.stdout

    def test_columns_without_figures_may_be_missing(self, write_run: Write, tmp_path: Path) -> None:
        folder = write_run(ROWS)
        table = pd.read_csv(folder / "leaderboard.csv")
        path = tmp_path / "older.csv"
        table.drop(columns="superb_score").to_csv(path, index=False)
        assert bench("report", str(folder), "--verify", str(path)).returncode == 0
        table.drop(columns="ks_accuracy").to_csv(path, index=False)
        assert "column ks_accuracy: missing" in bench("report", str(folder), "--verify", str(path)).stdout

    def test_a_changed_cell_is_told(self, write_run: Write, tmp_path: Path) -> None:
        folder = write_run(ROWS)
        text = (folder / "leaderboard.csv").read_text()
        (tmp_path / "changed.csv").write_text(text.replace("80.0,", "80.1,"))
        result = bench("report", str(folder), "--verify", str(tmp_path / "changed.csv"))
        assert result.returncode == 1
        assert result.stdout.splitlines()[0] == "a, ks_accuracy: 80.1 in the CSV, 80.0 by the records"

    def test_every_kind_of_difference(self, tmp_path: Path) -> None:
        path = tmp_path / "given.csv"
        path.write_text("model,x,y\na,1.0,text\nb,2.0,\nb,2.0,\n")
        rebuilt = "model,x,z\na,1.0000000000001,3\nb,2.00001,\nc,1,1\n"
        assert differences(read_csv_cells(path), rebuilt) == [
            "column z: missing in the CSV",
            "column y: only in the CSV",
            "c: missing in the CSV",
            "b: 2 times in the CSV, 1 by the records",
            "b, x: 2.0 in the CSV, 2.00001 by the records",
        ]

    @pytest.mark.parametrize("content", ["", "a,b\n1,2\n", '"'])
    def test_what_is_no_leaderboard_is_refused(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "x.csv").write_text(content)
        with pytest.raises(UserError, match=r"x\.csv"):
            read_csv_cells(tmp_path / "x.csv")


class TestCommand:
    def test_files_and_their_check(self, write_run: Write, tmp_path: Path) -> None:
        one, two = write_run(ROWS, "one"), write_run(ROWS, "two", preset="smoke")
        formats = ["--format", "csv,md,latex", "--with-published"]
        result = bench("report", str(one), str(two), *formats, "--out", str(tmp_path / "out"))
        assert result.returncode == 0, result.stderr
        assert [Path(line).name for line in result.stdout.splitlines()] == ["report.csv", "report.md", "report.tex"]
        written = tmp_path / "out" / "report.csv"
        table = pd.read_csv(written)
        assert table["preset"].value_counts().to_dict() == {"published": 45, "mini": 3, "smoke": 3}
        result = bench("report", str(one), str(two), "--verify", str(written))
        assert result.returncode == 0, result.stdout

    def test_a_folder_of_runs_stands_for_them(self, write_run: Write, tmp_path: Path) -> None:
        write_run(ROWS, "results/runs/one")
        write_run(ROWS, "results/runs/two")
        (tmp_path / "results/runs/empty").mkdir()
        result = bench("report", "results", "--format", "csv", cwd=tmp_path)
        assert result.stdout.strip() == str(Path("results/report/report.csv"))
        assert set(pd.read_csv(tmp_path / "results/report/report.csv")["source"]) == {"one", "two"}

    def test_a_file_in_the_way(self, write_run: Write, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        message = error_of("report", str(write_run(ROWS)), "--format", "md", "--out", str(tmp_path / "file"))
        assert message.strip().endswith(f"folder at {tmp_path / 'file'}. Found a file in its way. Choose another path.")

    def test_published_rows_alone(self, tmp_path: Path) -> None:
        result = bench("report", "--with-published", "--format", "csv", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert len(pd.read_csv(tmp_path / "report" / "report.csv")) == 45

    def test_wrong_use(self, tmp_path: Path) -> None:
        assert "Did you mean 'latex'" in error_of("report", "--format", "latx")
        assert "no config.yaml" in error_of("report", str(tmp_path))


class TestFailedCells:
    """A cell that failed says so in every format, whether one run is shown or several."""

    @pytest.fixture
    def runs(self, write_run: Write) -> list[Path]:
        """Two runs with a row ``a``, whose ASR failed in the second one, as did all of row ``gone``."""
        first, second = write_run(ROWS, "first"), write_run(ROWS, "second")
        (second / "cells" / "a" / "asr-seed0.json").unlink()
        for name in ("a/asr-seed0.txt", "compress-gone.txt"):
            note = second / "failures" / name
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text("out of memory")
        self.configure(second, models={"gone": {"compressor": "dphubert", "settings": {}}})
        for run in (first, second):
            self.configure(run, tasks={"asr": {}, "ks": {}})
        return [first, second]

    def configure(self, run: Path, **changes: dict[str, Any]) -> None:
        """Add entries to mappings of a run's configuration."""
        path = run / "config.yaml"
        config = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(config | {key: config[key] | values for key, values in changes.items()}))

    def cells(self, group: Group) -> dict[str, Any]:
        return {row["model"]: row for row in group.rows()}

    def test_in_the_rows_of_the_run_where_they_failed(self, runs: list[Path]) -> None:
        (group,) = report_groups(read_boards(runs))
        cells = self.cells(group)
        assert isinstance(cells["a (first)"]["asr_wer"], Figure)
        assert cells["a (second)"]["asr_wer"] == "failed"
        assert isinstance(cells["a (second)"]["ks_accuracy"], Figure)
        assert (cells["gone"]["asr_wer"], cells["gone"]["ks_accuracy"]) == ("failed", "failed")
        assert cells["gone"]["params"] is None
        assert group.texts()[-1]["model"] == "gone"

    def test_in_markdown_latex_and_the_page(self, runs: list[Path]) -> None:
        from bench.report.page.writing import page_html

        groups = report_groups(read_boards(runs))
        assert markdown(groups).count(" failed ") == 3
        assert document(groups).count("{failed}") == 3
        assert page_html(groups, {}).count(">failed<") == 3

    def test_in_the_csv(self, runs: list[Path], tmp_path: Path) -> None:
        text = report_csv(report_groups(read_boards(runs)))
        rows = {(row["source"], row["model"]): row for row in csv.DictReader(io.StringIO(text))}
        assert rows["second", "a (second)"]["failed"] == "asr"
        assert rows["second", "gone"]["failed"] == "asr;ks"
        assert rows["first", "a (first)"]["failed"] == ""
        path = tmp_path / "report.csv"
        path.write_text(text)
        assert differences(read_csv_cells(path), text) == []

    def test_only_of_the_tasks_that_are_shown(self, runs: list[Path]) -> None:
        (group,) = report_groups(read_boards(runs[1:], tasks=["ks"]))
        assert self.cells(group)["gone"]["ks_accuracy"] == "failed"
        assert "asr_wer" not in {column.key for column in group.columns}
        assert not any("asr" in note for note in group.notes)

    def test_of_a_task_that_failed_on_every_row(self, write_run: Write) -> None:
        run = write_run({"mini-hubert": {"ks": {"accuracy": 0.9}}})
        note = run / "failures" / "mini-hubert" / "ic-seed0.txt"
        note.parent.mkdir(parents=True)
        note.write_text("out of memory")
        self.configure(run, tasks={"ic": {}})
        (group,) = report_groups(read_boards([run]))
        assert self.cells(group)["mini-hubert"]["ic_accuracy"] == "failed"
