"""Figures on disk and on the command line, and whether everyone can read them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, ClassVar

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from bench.cli.app import application
from bench.errors import UserError
from bench.reports.plots import bars, pareto
from bench.reports.plots.series import COLORS, HATCHES, look
from bench.reports.plots.writing import Plot, write_plot
from tests.helpers.command_line import bench
from tests.helpers.plots import drawn, options, sources, texts
from tests.helpers.run_folders import run_writer


class TestSeenByEveryone:
    """Lightness alone tells series apart, and so do the colours that a colour-blind eye sees."""

    # Machado, Oliveira and Fernandes 2009, severity 1, of linear RGB.
    BLINDNESS: ClassVar = {
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
    }
    XYZ: ClassVar = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]

    def lab(self, color: str, matrix: list[list[float]] | None = None) -> np.ndarray[Any, Any]:
        srgb = np.array(to_rgb(color))
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        if matrix:
            linear = np.clip(np.array(matrix) @ linear, 0, 1)
        x, y, z = np.cbrt(np.maximum(np.array(self.XYZ) @ linear / [0.9505, 1.0, 1.089], 1e-9))
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    def test_in_greyscale(self) -> None:
        lightness = sorted(self.lab(color)[0] for color in COLORS)
        assert min(np.diff(lightness)) > 10

    @pytest.mark.parametrize("blindness", BLINDNESS)
    def test_by_the_colour_blind(self, blindness: str) -> None:
        seen = [self.lab(color, self.BLINDNESS[blindness]) for color in COLORS]
        distances = [np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)]
        assert min(distances) > 15

    def test_series_differ_in_more_than_colour(self) -> None:
        looks = [look(index) for index in range(30)]
        assert len({(one.color, one.hatch) for one in looks}) == 30
        assert len({(one.color, one.marker) for one in looks}) == 30
        first = looks[: len(HATCHES)]
        assert len({one.marker for one in first}) == len({one.hatch for one in first}) == len(first)


@pytest.fixture(scope="module")
def bars_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> Plot:
    """The figure that the tests of files write, once a test at most."""
    (plot,) = bars.plots(sources(run_writer(tmp_path_factory.mktemp("bars"))()))
    return plot


@pytest.fixture(scope="module")
def written(bars_of_a_run: Plot, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Its files."""
    return write_plot(bars_of_a_run, tmp_path_factory.mktemp("plots"), options(bars_of_a_run))


class TestFiles:
    def test_beside_a_figure_lies_what_it_shows(self, bars_of_a_run: Plot, written: dict[str, Path]) -> None:
        assert {suffix: path.name for suffix, path in written.items()} == {
            suffix: f"bars.{suffix}" for suffix in ("pdf", "png", "csv")
        }
        assert len(list(written["csv"].parent.iterdir())) == 3
        pd.testing.assert_frame_equal(
            pd.read_csv(written["csv"], keep_default_na=False, na_values=[""]).dropna(axis="columns", how="all"),
            bars_of_a_run.data.dropna(axis="columns", how="all"),
            check_dtype=False,
        )
        with Image.open(written["png"]) as image:
            assert image.width == pytest.approx(3.35 * 300, abs=1)

    def test_a_pdf_holds_its_fonts_as_type_42(self, written: dict[str, Path]) -> None:
        pdf = written["pdf"].read_bytes()
        assert b"/FontFile2" in pdf
        assert b"/CIDFontType2" in pdf
        assert b"/Type3" not in pdf

    def test_the_same_records_give_the_same_files_whatever_the_user_s_settings_of_matplotlib(
        self, bars_of_a_run: Plot, written: dict[str, Path], tmp_path: Path
    ) -> None:
        with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "text.parse_math": True}):
            again = write_plot(bars_of_a_run, tmp_path, options(bars_of_a_run))
        assert all(written[suffix].read_bytes() == again[suffix].read_bytes() for suffix in written)

    @pytest.mark.filterwarnings("error")
    def test_hostile_names_are_drawn_as_they_are(self, write_run: Any, tmp_path: Path) -> None:
        long = "run" * 100 + "/model"
        names = {
            "$x_": "$x_",
            "a_$b_c$": "a_$b_c$",
            "<script>": "<script>",
            "_hidden": "_hidden",
            r"\frac$": r"\frac$",
            "=cmd()": "=cmd()",
            "%": "%",
            # No control characters, nothing that the font lacks, and not endless.
            "na\u00efve\n\u03a9 \u6a21\u578b": "na\u00efve \u03a9 [U+6A21][U+578B]",
            long: f"{long[:14]}…{long[-15:]}",
        }
        models = {f"m{number}": {"ks": (0.5,)} for number in range(len(names))}
        run = sources(write_run(scores={"teacher": {"ks": (0.9,)}, **models}))
        renamed = dict(zip(models, names, strict=True))
        for plot in (pareto.plots(run)[0], *bars.plots(run)):
            data = plot.data.replace({"model": renamed, "label": renamed})
            data["compressor"] = data["model"]
            hostile = Plot(f"{plot.name}-{long}", data, plot.draw)
            assert set(names.values()) <= set(texts(drawn(hostile)))
        paths = write_plot(hostile, tmp_path / "out", options(hostile))
        assert all(path.is_file() and path.parent == tmp_path / "out" for path in paths.values())
        assert "'=cmd()" in paths["csv"].read_text(encoding="utf-8")


class TestCommand:
    def test_all_kinds_leave_out_what_is_absent(self, write_run: Any) -> None:
        run = write_run()
        result = bench("plot", str(run))
        assert result.returncode == 0, result.stderr
        assert {path.name for path in (run / "plots").iterdir()} == {
            f"{stem}.{suffix}" for stem in ("pareto-params", "pareto-macs", "bars") for suffix in ("pdf", "png", "csv")
        }
        assert len(result.stdout.splitlines()) == 3
        assert result.stderr.count("left out:") == 4

    def test_a_kind_asked_for_by_name_must_be_there(self, write_run: Any) -> None:
        run = write_run()
        with pytest.raises(UserError, match=r"for the plot training\. Found none in"):
            plot_command(str(run), "--kind", "bars,training")
        assert not (run / "plots").exists()

    def test_names_title_and_footer_are_the_user_s(self, write_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn_texts: list[str] = []
        monkeypatch.setattr("bench.reports.plots.pareto._draw_labels", lambda axes, points, cost, options: None)
        original = pareto.draw

        def draw(*arguments: Any, **options: Any) -> Any:
            figure = original(*arguments, **options)
            drawn_texts.extend(texts(figure))
            return figure

        monkeypatch.setattr("bench.reports.plots.pareto.draw", draw)
        run = str(write_run())
        names = ["--rename", "dphubert=DPHuBERT", "--title", "My models", "--no-footer", "--width", "acl-page"]
        plot_command(run, "--kind", "pareto", *names)
        assert {"DPHuBERT", "My models"} <= set(drawn_texts)
        assert "dphubert" not in drawn_texts
        assert not any("protocol" in text for text in drawn_texts)
        with pytest.raises(UserError, match="--rename: expected OLD=NEW"):
            plot_command(run, "--rename", "dphubert")

    def test_methods_within_the_names_of_rows_and_the_font(self, write_run: Any, tmp_path: Path) -> None:
        run = write_run("labels", {"teacher": {"ks": (0.9,)}, "dphubert-0.5": {"ks": (0.8,)}})
        out = tmp_path / "out"
        options = ["--rename", "dphubert=DPHuBERT", "--font", "times", "--out", str(out)]
        plot_command(str(run), "--kind", "bars", *options)
        assert set(pd.read_csv(out / "bars.csv")["label"]) == {"DPHuBERT-0.5"}
        assert b"STIXGeneral" in (out / "bars.pdf").read_bytes()

    def test_published_rows_have_labels_on_request(self) -> None:
        (plot, *_) = pareto.published_plots([])
        for asked in (frozenset(), frozenset({"DPHuBERT"})):
            (axes,) = drawn(plot, labels=asked).axes
            assert {text.get_text() for text in axes.texts} == asked

    def test_other_tasks_are_left_out(self, write_run: Any) -> None:
        run = write_run()
        assert set(pd.read_csv(self.bars_csv(run))["task"]) == {"asr", "ks"}
        assert set(pd.read_csv(self.bars_csv(run, "--tasks", "ks"))["task"]) == {"ks"}
        with pytest.raises(UserError, match=r"--tasks sid: .* has no such records"):
            self.bars_csv(run, "--tasks", "sid")

    def bars_csv(self, run: Path, *arguments: str) -> Path:
        plot_command(str(run), "--kind", "bars", *arguments)
        return run / "plots" / "bars.csv"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--kind", "pie"), "Unknown --kind 'pie'"),
            (("--width", "wide"), "Unknown --width 'wide'"),
            (("nowhere",), "Expected a run's folder"),
            ((), "Expected runs in"),
        ],
    )
    def test_mistakes_are_one_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError, match=message):
            plot_command(*arguments)

    def test_published_models_need_no_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        plot_command("--with-published", "--json")
        stems = [Path(paths["csv"]).stem for paths in json.loads(capsys.readouterr().out)]
        assert stems == ["published-params", "published-macs"]
        assert (tmp_path / "results" / "plots" / "published-params.pdf").is_file()


def plot_command(*arguments: str) -> None:
    application()(["plot", *arguments], standalone_mode=False)
