"""Fuzz tests: whatever names and values records hold, tables show them as text: no formula, no command, no markup."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench.files.csv_text import FORMULA_STARTS, csv_text, inert
from bench.reports.page.writing import page_html
from bench.reports.plots.training import training_table
from bench.reports.plots.writing import file_name
from bench.reports.tables import latex, markdown
from bench.reports.tables.columns import Column
from bench.reports.tables.leaderboards import Group
from bench.terminal.printing import print_rows
from bench.text import printable
from tests.fuzz.harness import PROFILES, fuzz

HOSTILE = (
    "a\r=cmd|' /C calc'!A0",
    "\r\n@SUM(1)",
    '"\r"=1',
    "\t=1",
    "-1+2",
    "＝1",  # noqa: RUF001 - a full-width sign
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>&lt;&#0;",
    "a|b\\|c `d` *e* _f_ [x](javascript:1)",
    "\\input{/etc/passwd} $x$ % & # ~ ^ { }",
    "\\",
    "\\\\",
    "a\x00b\x1b[31mred\x07",
    "\u202egnp.exe\u2066",
    "\ud800",
    "\x85\u2028\u2029",
    "- 1. # > ---",
    "--",
    "1) ### #",
    "../../etc/passwd",
    "CON",
    "",
)
NAMES = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="<>&\"'\\|`*_[]{}$%#~^=+-@\t\r\n;,/ a\x00\x1b\u202e\ud800", max_size=12),
    st.sampled_from(HOSTILE),
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9)
TABLES = st.lists(st.tuples(NAMES, NAMES, NUMBERS), min_size=1, max_size=4)
KNOWN = [[(name, name, -1.5)] for name in HOSTILE]
COLUMNS = (
    Column("model", "model", decimals=None),
    Column("teacher", "teacher", decimals=None),
    Column("ks_accuracy", "KS acc.", "%", higher_is_better=True, marks_best=True),
)

Rows = list[tuple[str, str, float]]


def group_of(rows: Rows) -> Group:
    # As objects: text that pyarrow holds, if it is installed, cannot have lone surrogates.
    table = pd.DataFrame(rows, columns=["model", "teacher", "ks_accuracy"], dtype=object).astype({"ks_accuracy": float})
    table = table.assign(compressor="dphubert", preset="mini", source="run")
    return Group(rows[0][0], table, COLUMNS, notes=tuple(name for name, _, _ in rows))


def one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def check_csv(rows: Rows) -> None:
    text = csv_text(pd.DataFrame(rows, columns=["model", "note", "score"], dtype=object))
    text.encode("utf-8")
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert found[0] == ["model", "note", "score"]
    assert len(found) == 1 + len(rows)
    for (name, note, score), cells in zip(rows, found[1:], strict=True):
        assert cells[:2] == [inert(name), inert(note)]
        assert [cell.removeprefix("'") for cell in cells[:2]] == [
            one.encode("utf-8", "backslashreplace").decode().removeprefix("'") for one in (name, note)
        ]
        assert not any(cell.startswith(FORMULA_STARTS) for cell in cells[:2])
        assert float(cells[2]) == score


def check_markdown(rows: Rows) -> None:
    text = markdown.markdown([group_of(rows)])
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert not [token.type for token in tokens if token.type in ("html_block", "fence", "code_block", "hr")]
    inline = [token for token in tokens if token.type == "inline"]
    children = [child for token in inline for child in token.children or []]
    kinds = {child.type for child in children if child.content not in ("<ins>", "</ins>")}
    assert kinds <= {"text", "text_special", "strong_open", "strong_close"}
    cells = list(_cells(tokens))
    assert len(cells) == len(COLUMNS) * (1 + len(rows))
    for position, (name, teacher, _) in enumerate(rows):
        assert cells[3 * (position + 1) : 3 * (position + 1) + 2] == [one_line(name), one_line(teacher)]


def _cells(tokens: list[Any]) -> Iterator[str]:
    for opening, content in pairwise(tokens):
        if opening.type in ("th_open", "td_open"):
            yield "".join(child.content for child in content.children or [])


def check_latex(rows: Rows) -> None:
    text = latex.table(group_of(rows))
    plain = re.sub(r"\\[\\{}$&#_%]", "", text)  # Escaped specials, and the ends of rows.
    assert _is_balanced(plain)
    commands = set(re.findall(r"\\([A-Za-z]+\*?)", plain))
    assert commands <= LATEX_COMMANDS
    body = text.partition("\\midrule\n")[2].partition("\\bottomrule")[0]
    lines = body.split("\n")[:-1]
    assert len(lines) == len(rows)
    for line in lines:
        assert line.endswith(" \\\\")
        bare = re.sub(r"\\[\\{}$&#_%]", "", line.replace("$-$", ""))
        assert bare.count("&") == len(COLUMNS) - 1
        assert not set(bare) & set("$#_%~^")
        assert line.isprintable()


LATEX_COMMANDS = {
    *("begin", "end", "centering", "caption", "resizebox*", "resizebox", "ifdim", "totalheight", "textheight", "else"),
    *("fi", "width", "linewidth", "toprule", "midrule", "bottomrule", "textbf", "smallskip", "footnotesize"),
    *("uparrow", "downarrow", "textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater"),
    *("textbar", "underline"),
}


def _is_balanced(text: str) -> bool:
    depth = 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        if depth < 0:
            return False
    return depth == 0


class Page(HTMLParser):
    """Collects the tags of a page, the text of its row headers, and its data."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.names: list[str] = []
        self.data = ""
        self._where = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self._where = "data" if values.get("id") == "figures" else "name" if values.get("scope") == "row" else ""
        if self._where == "name":
            self.names.append("")

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")
        self._where = ""

    def handle_data(self, data: str) -> None:
        if self._where == "name":
            self.names[-1] += data
        elif self._where == "data":
            self.data += data


def parsed(rows: Rows) -> Page:
    page = Page()
    # Its own scripts, some megabytes of plotly, are not at stake.
    page.feed(re.sub(r"<script>.*?</script>", "", page_html([group_of(rows)], {}), flags=re.DOTALL))
    page.close()
    return page


def check_html(rows: Rows) -> None:
    page = parsed(rows)
    harmless = parsed([("name", "name", score) for _, _, score in rows])
    assert page.tags == harmless.tags
    assert page.names == [printable(name) for name, _, _ in rows]
    assert json.loads(page.data) == {"pareto": [{}], "architecture": []}


def check_terminal(rows: Rows) -> None:
    shown = io.StringIO()
    with redirect_stdout(shown):
        print_rows(group_of(rows).texts(), rows[0][0])
    text = shown.getvalue()
    assert printable(text) == text


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("check", [check_csv, check_markdown, check_latex, check_terminal])
def test_tables(check: Any, profile: str) -> None:
    fuzz(check, TABLES, profile, examples=KNOWN)


@pytest.mark.parametrize("profile", PROFILES)
def test_pages(profile: str) -> None:
    everything = [(name, name, 1.0) for name in HOSTILE]
    fuzz(check_html, TABLES, profile, examples=[everything], max_examples=10)


@pytest.mark.parametrize("profile", PROFILES)
def test_names_of_files(profile: str, tmp_path: Path) -> None:
    def check(name: str) -> None:
        found = file_name(name)
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", found)
        assert len(found) <= 100
        (tmp_path / f"{found}.csv").touch()

    fuzz(check, NAMES, profile, examples=HOSTILE)


@pytest.mark.parametrize("profile", PROFILES)
def test_training_histories(profile: str, tmp_path: Path) -> None:
    path = tmp_path / "training.csv"
    cells = st.one_of(st.sampled_from(["1", "-0.5", "joint", "", "nan", "inf", "1e400", '"', "\x00", "x,y"]), st.text())
    rows = st.lists(st.lists(cells, min_size=1, max_size=5).map(",".join), max_size=5)

    def read(content: str | bytes) -> None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        table = training_table(path)
        assert table["update_in_all"].notna().all()

    heads = st.sampled_from(
        ["stage,update,loss", "stage,update,loss,lambda1", "update,loss", "stage,stage,update,loss"]
    )
    texts = st.tuples(heads, rows).map(lambda parts: "\n".join([parts[0], *parts[1]]))
    fuzz(read, st.one_of(texts, st.text(), st.binary()), profile, examples=["", "stage,update,loss\na,1,nan\n", "\x00"])
