"""The page in a real browser: it sorts, filters, draws, tells all of a model, and runs nothing that results hold."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.contracts import Metric
from bench.leaderboard.comparable import read_board, read_boards
from bench.report.page.boards import board_data
from bench.report.page.writing import page_html, report_page
from bench.report.tables.columns import columns_of
from bench.report.tables.formats import write_report
from bench.report.tables.leaderboards import Group, report_groups
from bench.store.records import Cell, ModelCard, Record, RecordStore

selenium = pytest.importorskip("selenium", reason="needs selenium")
from selenium import webdriver  # noqa: E402
from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.slow

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
            "params": np.linspace(1e6, 9e6, count),
            "macs": np.linspace(9e9, 1e9, count),
            "preset": "mini",
            "source": "run",
            "ks_accuracy": np.linspace(50, 90, count),
            "ks_accuracy_std": 0.5,
        }
        | columns
    )
    return Group("mini-1, preset mini, protocol cached", table, columns_of(table, METRICS, by_superb=False))


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


def hover_text(browser: Any, plot: str, curve: int, point: int) -> str:
    """Hover a point by Plotly's own call, as soon as it is drawn."""
    is_drawn = f"const plot = document.querySelector('{plot}'); return (plot.calcdata ?? []).length > {curve}"
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(is_drawn))
    browser.execute_script(
        f"Plotly.Fx.hover(document.querySelector('{plot}'), [{{curveNumber: {curve}, pointNumber: {point}}}])"
    )
    return str(browser.find_element(By.CSS_SELECTOR, f"{plot} .hoverlayer").get_property("textContent"))


class TestLeaderboard:
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
        rows = group(
            ["dphubert-0.5", "dphubert-0.75", "prune-only-0.5"], compressor=["dphubert", "dphubert", "prune-only"]
        )
        browser = show(page_html([rows], {}))
        assert browser.find_element(By.ID, "count").text == "3 of 3 rows"
        browser.find_element(By.ID, "filter").send_keys("DPHuBERT 0.5")
        assert names_shown(browser) == ["dphubert-0.5"]
        assert browser.find_element(By.ID, "count").text == "1 of 3 rows"
        assert len(browser.find_elements(By.CSS_SELECTOR, ".pareto .point")) == 1

    def test_published_rows_are_marked(self, show: Any) -> None:
        browser = show(page_html(report_groups([], with_published=True), {}))
        assert len(names_shown(browser)) == len(browser.find_elements(By.CSS_SELECTOR, "tr.published .mark")) > 20
        assert browser.find_elements(By.CSS_SELECTOR, ".model") == []

    def test_groups_have_headings_of_their_own(self, show: Any) -> None:
        browser = show(page_html([group(["a"]), *report_groups([], with_published=True)], {}))
        headings = [one.text for one in browser.find_elements(By.CSS_SELECTOR, "main h2")]
        assert headings[0] == "mini-1, preset mini, protocol cached"
        assert headings[1].startswith("Published results")
        assert len(browser.find_elements(By.CSS_SELECTOR, ".leaderboard")) == 2

    def test_a_thousand_rows_stay_smooth(self, show: Any) -> None:
        random = np.random.default_rng(0)
        many = group([f"model-{index}" for index in range(1000)], ks_accuracy=random.random(1000) * 100)
        browser = show(page_html([many], {}))
        # The page's own processor time, whatever else the machine does.
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        buttons = len(browser.find_elements(By.CSS_SELECTOR, ".leaderboard thead button"))
        before = busy_s(browser)
        for index in range(buttons):
            browser.execute_script(
                f"document.querySelectorAll('.leaderboard thead button')[{index}].click(); document.body.offsetHeight"
            )
        assert (busy_s(browser) - before) / buttons < 1
        assert [row[:5] for row in names_shown(browser)[:1]] == ["model"]
        browser.find_element(By.ID, "filter").send_keys("model-99")
        assert browser.find_element(By.ID, "count").text == "11 of 1000 rows"


class TestPareto:
    def test_hover_tells_the_model(self, show: Any) -> None:
        browser = show(page_html([group(["small", "large"])], {}))
        text = hover_text(browser, ".pareto", curve=1, point=1)
        assert "large" in text
        assert "90.00 ± 0.50" in text

    def test_pointing_at_a_point_hovers(self, show: Any) -> None:
        browser = show(page_html([group(["small", "large"])], {}))
        place = browser.find_element(By.CSS_SELECTOR, ".pareto")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", place)
        point = browser.find_elements(By.CSS_SELECTOR, ".pareto .point")[0]
        ActionChains(browser).move_to_element(point).pause(0.5).perform()
        assert "small" in browser.find_element(By.CSS_SELECTOR, ".hoverlayer").text

    def test_axes_are_chosen(self, show: Any) -> None:
        browser = show(page_html([group(["a", "b"])], {}))
        browser.execute_script(
            "const select = document.querySelector('select.cost'); select.value = 1;"
            "select.dispatchEvent(new Event('change'))"
        )
        assert "MACs (G)" in browser.find_element(By.CSS_SELECTOR, ".pareto .xtitle").text

    def test_the_front_is_what_nothing_beats(self) -> None:
        random = np.random.default_rng(1)
        params, accuracy = random.integers(1, 20, 60) * 1e6, random.integers(1, 50, 60).astype(float)
        free = {"params": [*params, 0], "ks_accuracy": [*accuracy, 99.0]}
        rows = group([f"m{index}" for index in range(61)], **free)
        (front,) = (one["rows"] for one in board_data(rows)["fronts"]["params ks_accuracy"])
        beaten = {
            one
            for one in range(60)
            for other in range(60)
            if params[other] <= params[one]
            and accuracy[other] >= accuracy[one]
            and (params[other], accuracy[other]) != (params[one], accuracy[one])
        }
        assert set(front) == set(range(60)) - beaten
        assert [params[index] for index in front] == sorted(params[index] for index in front)


class TestHostile:
    def test_names_are_text(self, show: Any) -> None:
        rows = group(HOSTILE, compressor=HOSTILE, teacher=HOSTILE)
        details = {
            "run": {
                name: {
                    "config": 0,
                    "records": [],
                    "saved": {name: {"teacher": name}},
                    "layers": {
                        name: [
                            {
                                "part": name,
                                "layer": 1,
                                "kept": 1,
                                "teacher": 2,
                                "kept_heads": name,
                                "teacher_heads": name,
                            }
                        ]
                    },
                    "not_compared": name,
                }
                for name in HOSTILE
            }
        }
        rows = Group("<b>heading</b>", rows.table, rows.columns, ("<i>note</i>",))
        html = page_html([rows], details, HOSTILE)
        browser = show(html)
        for position, name in enumerate(HOSTILE):
            button = browser.find_elements(By.CSS_SELECTOR, ".model")[position]
            assert button.get_property("textContent") == name
            browser.execute_script("arguments[0].click()", button)
            assert browser.find_element(By.ID, "model-name").get_property("textContent") == name
            assert "layer 1" in hover_text(browser, ".architecture", curve=1, point=0)
            browser.find_element(By.ID, "close").click()
        for link in browser.find_elements(By.CSS_SELECTOR, ".pareto a, dialog a"):
            link.click()
        assert browser.execute_script("return window.hurt") is None
        assert browser.find_element(By.CSS_SELECTOR, "main h2").text == "<b>heading</b>"
        assert browser.find_elements(By.CSS_SELECTOR, "main img, main b, main a") == []

    def test_injected_scripts_would_not_run(self, show: Any, browser: Any) -> None:
        """Even if escaping failed, the page's policy lets no other script run than its own."""
        show(page_html([group(["a"])], {}))
        browser.execute_script(
            "const made = document.createElement('script'); made.textContent = 'window.hurt = 1';"
            "document.body.append(made);"
            "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.hurt = 2\">')"
        )
        assert browser.execute_script("return window.hurt") is None
        assert all("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))

    def test_nothing_comes_from_elsewhere(self) -> None:
        html = page_html([group(HOSTILE)], {})
        own = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
        assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"'](?!data:)", own.split("<body>")[0])
        data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
        assert data is not None
        assert not set("<>&\u2028\u2029") & set(data[1])
        assert [row["model"] for row in json.loads(data[1])["boards"][0]["rows"]] == HOSTILE


class TestModel:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
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

    def test_one_click_tells_all(self, show: Any, run: Path) -> None:
        boards = [read_board(run)]
        browser = show(report_page(report_groups(boards), boards))
        assert names_shown(browser) == ["mini-hubert", "pruned"]
        browser.find_elements(By.CSS_SELECTOR, ".model")[1].click()
        dialog = browser.find_element(By.ID, "model")
        assert dialog.is_displayed()
        (worst,) = dialog.find_elements(By.CSS_SELECTOR, ".stands-out")
        assert worst.text.startswith("speaker speaker3 10 10 0 100.00 0.00 \N{MINUS SIGN}100.00")
        summaries = {one.text: one for one in dialog.find_elements(By.TAG_NAME, "summary")}
        assert list(summaries) == ["10 broken utterances", "ks, seed 0", "configuration of the run"]
        summaries["10 broken utterances"].click()
        assert "clip30 yes yes <b>no</b>" in dialog.text
        summaries["ks, seed 0"].click()
        assert '"torch": "9.8.7"' in dialog.text
        assert '"steps": 1234' in dialog.text
        summaries["configuration of the run"].click()
        assert '"total_steps": 10' in dialog.text
        browser.switch_to.active_element.send_keys(Keys.ESCAPE)
        assert not dialog.is_displayed()

    @pytest.mark.parametrize("width", [375, 768])
    def test_narrow_screens_scroll_tables_and_not_the_page(self, show: Any, run: Path, width: int) -> None:
        boards = [read_board(run)]
        browser = show(report_page(report_groups(boards, with_published=True), boards), width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        browser.find_elements(By.CSS_SELECTOR, ".model")[1].click()
        assert (
            browser.execute_script("const d = document.getElementById('model'); return d.scrollWidth - d.clientWidth")
            <= 0
        )

    def test_wide_tables_fit_printed_pages(self, show: Any) -> None:
        # A4 in landscape with margins of 1 cm, at 96 points an inch.
        browser = show(page_html(report_groups([], with_published=True), {}), 1047)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        try:
            width = "return document.querySelector('.leaderboard').getBoundingClientRect().right"
            assert browser.execute_script(width) <= 1047
        finally:
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

    def test_names_on_a_narrow_screen_end_in_their_cell(self, show: Any, run: Path) -> None:
        renamed = run.rename(run.with_name("a-run-with-a-name-that-is-longer-than-a-phone-is-wide"))
        shutil.copytree(renamed, run)
        boards = read_boards([renamed, run])
        browser = show(report_page(report_groups(boards), boards), 375)
        for name in browser.find_elements(By.CSS_SELECTOR, ".leaderboard .model"):
            cell = name.find_element(By.XPATH, "..").rect
            assert name.rect["x"] + name.rect["width"] <= cell["x"] + cell["width"]

    def test_it_is_a_format_of_reports(self, run: Path, tmp_path: Path) -> None:
        boards = [read_board(run)]
        (path,) = write_report(report_groups(boards), boards, ["html"], tmp_path / "out")
        assert path == tmp_path / "out" / "report.html"
        assert path.read_text(encoding="utf-8") == report_page(report_groups(boards), boards)

    def test_without_the_teacher_it_says_so(self, run: Path) -> None:
        shutil.rmtree(run / "cells" / "mini-hubert")
        boards = [read_board(run)]
        assert "The run has no scores of the teacher." in report_page(report_groups(boards), boards)
