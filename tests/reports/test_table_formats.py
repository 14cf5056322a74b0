"""Tables as Markdown, LaTeX and CSV: names are text, and documents compile."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from bench.errors import UserError
from bench.reports.tables.formats import report_csv
from bench.reports.tables.latex import Layout, document, escaped
from bench.reports.tables.latex import table as latex_table
from bench.reports.tables.leaderboards import Group, published_group
from bench.reports.tables.markdown import markdown
from bench.text import printable
from tests.helpers.table_runs import HOSTILE, ROWS, Write, best, groups_of, with_names


class TestHostileNames:
    @pytest.fixture
    def group(self, write_rows: Write) -> Group:
        return with_names(groups_of(write_rows(ROWS))[0], HOSTILE)

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
def test_the_document_compiles_as_it_stands(write_rows: Write, tmp_path: Path) -> None:
    rows = {**ROWS, "fbank": {"ks": {"accuracy": 0.85}, "asr": {"wer": 0.8, "cer": 0.8}}}
    own, published = groups_of(write_rows(rows, seeds=3), with_published=True)
    assert best(own, "ks_accuracy")  # With deviations, in bold, and one relative score below zero.
    twice = pd.concat([published.table, published.table], ignore_index=True)
    long = Group(published.heading, twice, published.columns[:4], published.notes)  # Narrow, so its height counts.
    (tmp_path / "report.tex").write_text(document([own, published, with_names(own, HOSTILE), long]), encoding="utf-8")
    assert "(5 pages" in compiled(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_a_fragment_compiles_in_a_paper(write_rows: Write, tmp_path: Path) -> None:
    (own,) = groups_of(write_rows(ROWS, seeds=3))
    stars = own.table.assign(ks_accuracy_differs=["", "**", ""])
    own = replace(own, table=stars, notes=(*own.notes, "100 % sure"))
    (tmp_path / "scores.tex").write_text(document([own, published_group()], Layout(is_fragment=True)))
    (tmp_path / "report.tex").write_text(
        "\\documentclass[twocolumn]{article}\\usepackage{booktabs}\\begin{document}\n"
        "\\begin{table*}\\tiny\\setlength{\\tabcolsep}{1pt}\\input{scores}\\end{table*}\\end{document}\n"
    )
    compiled(tmp_path, allowed="Overfull")


def compiled(folder: Path, allowed: str = "nothing") -> str:
    """Compile a document, which must raise no warning, and return the log."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:]
    log = (folder / "report.log").read_text(errors="replace")
    found = set(re.findall(r"Warning|Overfull|Missing character|undefined", log))
    assert found <= {allowed}, log
    return log


class TestLatex:
    def test_best_and_second_best_of_each_size(self, write_rows: Write) -> None:
        rows = {**ROWS, "c": {"ks": {"accuracy": 0.75}, "asr": {"wer": 0.5, "cer": 0.2}}}
        text = latex_table(groups_of(write_rows(rows, seeds=2))[0])
        assert "\\textbf{80.50} $\\pm$ 0.71" in text
        assert "\\underline{75.50} $\\pm$ 0.71" in text
        assert "70.50 $\\pm$ 0.71" in text
        # The teacher, then the three compressed models.
        assert text.count("\\midrule") == 2

    def test_figures_align_at_the_decimal_point(self) -> None:
        text = latex_table(published_group())
        (row,) = (line for line in text.splitlines() if line.startswith("HuBERT Base [D, L, A] "))
        assert "& 1669\\phantom{.0} &" in row

    def test_caption_and_label(self, write_rows: Write) -> None:
        layout = Layout(caption="Scores & sizes", label="tab:scores")
        one = document(groups_of(write_rows(ROWS, "one")), layout)
        assert "\\caption{Scores \\& sizes}\n\\label{tab:scores}" in one
        two = document(groups_of(write_rows(ROWS, "two"), with_published=True), layout)
        assert re.findall(r"label\{(.*?)\}", two) == ["tab:scores", "tab:scores-2"]
        with pytest.raises(UserError, match="--label"):
            Layout(label="a}b")

    def test_a_fragment_is_the_tabular_alone(self, write_rows: Write) -> None:
        text = document(groups_of(write_rows(ROWS)), Layout(is_fragment=True))
        lines = [line for line in text.splitlines() if line and not line.startswith("%")]
        assert lines[0].startswith("\\begin{tabular}")
        assert lines[-1] == "\\end{tabular}"
        assert "% Utterances of the test split" in text

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("low-rank", "low-rank"),
            ("--", "-{}-"),
            ("it's", "it's"),
            ("a [b]*", "a [b]*"),
            ("[b]", "{}[b]"),
            ("*", "{}*"),
        ],
    )
    def test_names_have_no_needless_braces(self, name: str, shown: str) -> None:
        assert escaped(name) == shown


def test_markdown_underlines_the_second_best(write_rows: Write) -> None:
    rows = {**ROWS, "c": {"ks": {"accuracy": 0.75}, "asr": {"wer": 0.5, "cer": 0.2}}}
    (group,) = groups_of(write_rows(rows, seeds=2))
    group = replace(group, table=group.table.assign(ks_accuracy_differs=["", "*", "**", ""]))
    text = markdown([group])
    assert "| **80.50** ± 0.71\\* |" in text
    assert "| <ins>75.50</ins> ± 0.71 |" in text
    assert "| 70.50 ± 0.71\\*\\* |" in text


@pytest.mark.slow
@pytest.mark.skipif(None in (shutil.which("pdflatex"), shutil.which("pdftotext")), reason="no pdflatex or pdftotext")
def test_seeds_that_agree_show_a_deviation_of_zero(write_rows: Write, tmp_path: Path) -> None:
    (group,) = groups_of(write_rows(ROWS, seeds=3))
    group.table["ks_accuracy_std"] = 0.0
    (tmp_path / "report.tex").write_text(document([group]), encoding="utf-8")
    subprocess.run(["pdflatex", "-interaction=batchmode", "report.tex"], cwd=tmp_path, capture_output=True, check=True)
    command = ["pdftotext", "-layout", "report.pdf", "-"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert shown.count("± 0.00") == len(group.table)
