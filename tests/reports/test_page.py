"""The page in a real browser: it sorts, filters, draws, shows the details of a model, and runs nothing from results."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.contracts import Metric
from bench.leaderboard.comparable import read_board, read_boards
from bench.leaderboard.shown_scores import COLUMNS, KINDS_OF_VALUES
from bench.reports.page.details import ModelDetails
from bench.reports.page.figures import architecture_figure
from bench.reports.page.writing import Origin, page_html, report_page
from bench.reports.plots.series import look
from bench.reports.tables.columns import columns_of
from bench.reports.tables.formats import write_report
from bench.reports.tables.leaderboards import Group, report_groups
from bench.reports.tables.selection import with_names
from bench.store.records import Cell, ModelCard, Record, RecordStore
from bench.text import printable

selenium = pytest.importorskip("selenium", reason="needs selenium")
from selenium import webdriver  # noqa: E402
from selenium.webdriver import Keys  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

METRICS = {"ks": (Metric("accuracy", higher_is_better=True, primary=True),)}
HOSTILE = [
    "<script>window.hurt = 1</script>",
    '"onmouseover="window.hurt=2" x="',
    "</script><script>window.hurt = 3</script>",
    "<img src=x onerror=window.hurt=4>",
    "{{ 7 * 7 }} ${window.hurt = 5} \u2028 ]]> <!--",
    '<a href="javascript:window.hurt=6">click</a>',
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start a headless Chromium."""
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(120)
    yield driver
    driver.quit()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open a page at a width; afterwards, the console must be empty."""

    def show(html: str, width: int = 1280) -> Any:
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.execute_cdp_cmd("Network.enable", {})
        # Offline but for the file itself.
        browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*"]})
        browser.get(path.as_uri())
        return browser

    yield show
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def group(names: Sequence[str], **columns: Any) -> Group:
    """Rows of a leaderboard, without a run behind them."""
    count = len(names)
    table = pd.DataFrame(
        {
            "model": names,
            "compressor": "prune-only",
            "teacher": "hubert_base",
            "target_sparsity": 0.5,
            "params": np.linspace(1e6, 9e6, count),
            "macs": np.linspace(9e9, 1e9, count),
            "preset": "mini",
            "source": "run",
            "ks_accuracy": np.linspace(50, 90, count),
            "ks_accuracy_std": 0.5,
        }
        | columns
    )
    scores = table.assign(
        run="run", label=names, setting=1, task="ks", metric="accuracy", higher_is_better=True, is_teacher=False,
        is_published=False, score=table["ks_accuracy"], score_std=table["ks_accuracy_std"],
    ).reindex(columns=COLUMNS).astype(KINDS_OF_VALUES).dropna(subset="score")  # fmt: skip
    columns_shown = columns_of(table, METRICS, by_superb=False)
    return Group("mini-1, preset mini, protocol cached", table, columns_shown, scores=scores)


def names_shown(browser: Any) -> list[str]:
    return [
        row.find_element(By.TAG_NAME, "th").text
        for row in browser.find_elements(By.CSS_SELECTOR, ".leaderboard tbody tr")
        if row.is_displayed()
    ]


def header(browser: Any, title: str) -> Any:
    (found,) = (
        one for one in browser.find_elements(By.CSS_SELECTOR, ".leaderboard thead th") if one.text.startswith(title)
    )
    return found


def busy_s(browser: Any) -> float:
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def choose(browser: Any, selector: str, value: str) -> None:
    Select(browser.find_element(By.CSS_SELECTOR, selector)).select_by_value(value)


def points(browser: Any) -> list[str]:
    """Hover texts of the points that the first figure shows."""
    return list(
        browser.execute_script(
            "return document.querySelector('.pareto').data.filter((trace) => trace.customdata)"
            ".flatMap((trace) => trace.selectedpoints.map((index) => trace.text[index]))"
        )
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run: a teacher, and a model that lost one speaker."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = {
        "teacher": "mini-hubert",
        "data": {"name": "mini", "tasks": {"ks": {"layout": "speech_commands"}}},
        "preset": "mini",
        "models": {"mini-hubert": {"reference": "mini-hubert"}, "pruned": {"compressor": "prune-only"}},
        "tasks": {"ks": {"total_steps": 10}},
        "seeds": [0],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for model in ("mini-hubert", "pruned"):
        card = ModelCard(params=2, size_bytes=8, **({} if model == "mini-hubert" else {"compressor": "prune-only"}))
        answers = [not (model == "pruned" and index // 10 == 3) for index in range(80)]
        RecordStore(folder).write(
            Record(
                cell=Cell(model=model, task="ks", seed=0),
                card=card,
                preset="mini",
                data="mini-1",
                protocol="cached",
                scores={"test": {"accuracy": sum(answers) / 80}},
                settings={"learning_rate": 0.25, "arguments": {"steps": 1234}},
                provenance={"versions": {"torch": "9.8.7"}},
            ),
            [
                {
                    "id": f"clip{index}",
                    "split": "test",
                    "reference": "yes",
                    "prediction": "yes" if right else "<b>no</b>",
                    "correct": right,
                    "counts": {"accuracy": [int(right), 1]},
                    "duration_s": 1.0,
                    "speaker": f"speaker{index // 10}",
                }
                for index, right in enumerate(answers)
            ],
        )
    return folder


@pytest.mark.slow
class TestBrowser:
    def test_sorts_by_numbers_and_by_names(self, show: Any) -> None:
        accuracies = [9.5, None, 80.25, 10.0]
        browser = show(page_html([group(["b10", "b9", "a", "c"], ks_accuracy=accuracies)], {}))
        column = header(browser, "KS")
        column.find_element(By.TAG_NAME, "button").click()
        assert names_shown(browser) == ["b10", "c", "a", "b9"]
        assert column.get_attribute("aria-sort") == "ascending"
        # By the keyboard, and with empty cells at the end again.
        column.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
        assert names_shown(browser) == ["a", "c", "b10", "b9"]
        assert column.get_attribute("aria-sort") == "descending"
        header(browser, "model").find_element(By.TAG_NAME, "button").click()
        assert names_shown(browser) == ["a", "b9", "b10", "c"]
        assert column.get_attribute("aria-sort") == "none"

    def test_filters_rows_and_points(self, show: Any) -> None:
        methods, sizes = ["dphubert", "dphubert", "prune-only"], [0.5, 0.75, 0.5]
        names = ["dphubert-0.5", "dphubert-0.75", "prune-only-0.5"]
        rows = group(names, compressor=methods, target_sparsity=sizes)
        browser = show(page_html([rows, *report_groups([], with_published=True)], {}))
        browser.find_element(By.ID, "filter").send_keys("DPHuBERT 0.5")
        assert names_shown(browser) == points(browser) == ["dphubert-0.5"]
        assert browser.find_element(By.ID, "count").text.startswith("1 of ")
        browser.find_element(By.ID, "filter").clear()
        browser.find_element(By.ID, "filter").send_keys(" ")
        choose(browser, "#method", "dphubert")
        assert names_shown(browser) == points(browser) == names[:2]
        choose(browser, "#size", "75 % removed")
        assert names_shown(browser) == points(browser) == names[1:2]
        choose(browser, "#task", "er")
        titles = [one.text for one in browser.find_elements(By.CSS_SELECTOR, ".leaderboard thead th") if one.text]
        assert any(title.startswith("ER") for title in titles)
        assert not any(title.startswith("KS") for title in titles)
        choose(browser, "select.cost", "macs")
        assert "MACs (G)" in browser.find_element(By.CSS_SELECTOR, ".pareto .xtitle").text

    def test_a_thousand_rows_stay_smooth(self, show: Any) -> None:
        random = np.random.default_rng(0)
        many = group([f"model-{index}" for index in range(1000)], ks_accuracy=random.random(1000) * 100)
        browser = show(page_html([many], {}))
        # The page's own processor time, whatever else the machine does.
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        before = busy_s(browser)
        for index in range(6):
            browser.execute_script(
                f"document.querySelectorAll('.leaderboard thead button')[{index}].click(); document.body.offsetHeight"
            )
        assert (busy_s(browser) - before) / 6 < 1
        browser.find_element(By.ID, "filter").send_keys("model-99")
        assert browser.find_element(By.ID, "count").text == "11 of 1000 rows"

    def test_names_are_text_and_other_scripts_do_not_run(self, show: Any) -> None:
        rows = group(HOSTILE, compressor=HOSTILE, teacher=HOSTILE)
        layer = {"part": HOSTILE, "layer": 1, "kept": 1, "teacher": 2, "kept_heads": "0", "teacher_heads": "0 1"}
        figure = architecture_figure(pd.DataFrame(layer), look(0))
        details = {name: ModelDetails({name: name}, {name: name}, {name: figure}, [(name, name)]) for name in HOSTILE}
        rows = Group("<b>heading</b>", rows.table, rows.columns, ("<i>note</i>",), rows.scores)
        browser = show(page_html([rows], {"run": details}, origin=Origin(HOSTILE[0], HOSTILE[1])))
        for position, name in enumerate(HOSTILE):
            button = browser.find_elements(By.CSS_SELECTOR, ".leaderboard .model")[position]
            assert button.get_property("textContent") == printable(name)
            browser.execute_script("arguments[0].click()", button)
            assert browser.find_element(By.ID, "model-name").get_property("textContent") == printable(name)
            browser.find_element(By.ID, "close").click()
        for link in browser.find_elements(By.CSS_SELECTOR, ".pareto a, dialog a"):
            link.click()
        assert browser.execute_script("return window.hurt") is None
        assert browser.find_element(By.CSS_SELECTOR, "main h2").text == "<b>heading</b>"
        assert browser.find_elements(By.CSS_SELECTOR, "main img, main b, main a") == []
        # Even if escaping failed, the page's policy would stop a script.
        browser.execute_script(
            "const made = document.createElement('script'); made.textContent = 'window.hurt = 1';"
            "document.body.append(made);"
            "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.hurt = 2\">')"
        )
        assert browser.execute_script("return window.hurt") is None
        assert all("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))

    def test_a_click_shows_a_model(self, show: Any, run: Path) -> None:
        boards = [read_board(run)]
        browser = show(report_page(report_groups(boards), boards, origin=Origin("bench report run", "2030-01-02")))
        assert "bench report run" in browser.find_element(By.TAG_NAME, "header").text
        assert names_shown(browser) == ["mini-hubert", "pruned"]
        browser.find_elements(By.CSS_SELECTOR, ".leaderboard .model")[1].click()
        dialog = browser.find_element(By.ID, "model")
        assert dialog.is_displayed()
        (worst,) = dialog.find_elements(By.CSS_SELECTOR, ".stands-out")
        assert worst.text.startswith("speaker speaker3 10 10 0 100.00 0.00 \N{MINUS SIGN}100.00")
        summaries = {one.text: one for one in dialog.find_elements(By.TAG_NAME, "summary")}
        assert list(summaries) == ["10 broken utterances", "ks, seed 0"]
        summaries["10 broken utterances"].click()
        assert "clip30 yes yes <b>no</b>" in dialog.text
        summaries["ks, seed 0"].click()
        assert '"torch": "9.8.7"' in dialog.text
        assert '"arguments": "recipe 1' in dialog.text
        browser.switch_to.active_element.send_keys(Keys.ESCAPE)
        assert not dialog.is_displayed()
        for title, content in (("recipe 1", '"steps": 1234'), ("configuration of run", '"total_steps": 10')):
            browser.find_element(By.XPATH, f"//summary[.='{title}']").click()
            assert content in browser.find_element(By.XPATH, f"//summary[.='{title}']/..").text

    def test_narrow_screens_and_paper(self, show: Any, run: Path) -> None:
        renamed = run.rename(run.with_name("a-run-with-a-name-that-is-longer-than-a-phone-is-wide"))
        shutil.copytree(renamed, run)
        boards = read_boards([renamed, run])
        browser = show(report_page(report_groups(boards, with_published=True), boards), 375)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 375
        for name in browser.find_elements(By.CSS_SELECTOR, ".leaderboard .model"):
            cell = name.find_element(By.XPATH, "..").rect
            assert name.rect["x"] + name.rect["width"] <= cell["x"] + cell["width"]
        # A score is next to the name.
        score = browser.find_element(By.CSS_SELECTOR, ".leaderboard td[data-task=ks]")
        assert score.rect["x"] + score.rect["width"] <= 375
        browser.find_elements(By.CSS_SELECTOR, ".leaderboard .model")[1].click()
        overflow = "const d = document.getElementById('model'); return d.scrollWidth - d.clientWidth"
        assert browser.execute_script(overflow) <= 0
        # A4 in landscape with margins of 1 cm, at 96 points an inch.
        browser = show(page_html(report_groups([], with_published=True), {}), 1047)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        try:
            width = "return document.querySelector('.leaderboard').getBoundingClientRect().right"
            assert browser.execute_script(width) <= 1047
        finally:
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


class TestFile:
    def test_a_line_separates_sizes(self) -> None:
        rows = group(list("abcd"), params=[1e6, 1e6, 5e5, 5e5], compressor=["none", *["prune-only"] * 3])
        rows = replace(rows, table=rows.table.assign(size_bytes=[4e6, 4e6, 2e6, 2e6]))
        html = page_html([rows], {})
        assert re.findall(r'<tr data-row="(\d)"[^>]*class="smaller"', html) == ["1", "2"]

    def test_other_names(self, run: Path) -> None:
        boards = [read_board(run)]
        groups = [with_names(group, {"pruned": "Mine", "prune-only": "Pruning"}) for group in report_groups(boards)]
        html = report_page(groups, boards)
        assert '<article data-name="Mine">' in html
        assert '<option value="prune-only">Pruning</option>' in html
        assert '"name": "Pruning"' in html

    def test_a_run_without_predictions(self, run: Path) -> None:
        for path in run.rglob("*.predictions.jsonl"):
            path.unlink()
        boards = [read_board(run)]
        assert "has no predictions" in report_page(report_groups(boards), boards)

    def test_nothing_comes_from_elsewhere(self) -> None:
        html = page_html([group(HOSTILE)], {})
        own = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
        assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"'](?!data:)", own.split("<body>")[0])
        data = re.search(r'<script type="application/json" id="figures">(.*?)</script>', html, re.DOTALL)
        assert data is not None
        assert not set("<>&\u2028\u2029") & set(data[1])
        (figure, *_) = json.loads(data[1])["pareto"][0].values()
        shown = [text for trace in figure["data"] for text in trace.get("text", ())]
        assert shown == [escape(printable(name), quote=False) for name in sorted(HOSTILE, key=HOSTILE.index)]

    def test_it_is_a_format_of_reports(self, run: Path, tmp_path: Path) -> None:
        boards = [read_board(run)]
        (path,) = write_report(report_groups(boards), boards, ["html"], tmp_path / "out")
        assert path == tmp_path / "out" / "report.html"
        assert path.read_text(encoding="utf-8") == report_page(report_groups(boards), boards)

    def test_without_the_teacher_it_says_so(self, run: Path) -> None:
        shutil.rmtree(run / "cells" / "mini-hubert")
        boards = [read_board(run)]
        assert "The run has no scores of the teacher." in report_page(report_groups(boards), boards)

    def test_of_many_rows_some_are_compared(self, write_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bench.reports.page.details.MOST_COMPARED", 1)
        boards = [read_board(write_run())]
        page = report_page(report_groups(boards), boards)
        commands = [f"bench compare teacher {row} --run run --changes all" in page for row in boards[0].table["model"]]
        assert commands == [False, False, True, True]
