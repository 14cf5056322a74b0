"""Figures on disk and on the command line, and whether everyone can read them."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any, ClassVar

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from bench.report.plots import bars, pareto
from bench.report.plots.kinds import draw_plots
from bench.report.plots.series import COLORS, HATCHES, series
from bench.report.plots.writing import Plot, write_plot
from tests.application.test_command_line import bench, error_of
from tests.report.test_plots import drawn, sources, texts


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
        looks = [series(index) for index in range(30)]
        assert len({(look.color, look.hatch) for look in looks}) == 30
        assert len({(look.color, look.marker) for look in looks}) == 30
        first = looks[: len(HATCHES)]
        assert len({look.marker for look in first}) == len({look.hatch for look in first}) == len(first)


class TestFiles:
    def test_beside_each_figure_lies_what_it_shows(self, write_run: Any, tmp_path: Path) -> None:
        run = write_run()
        written = draw_plots(
            [run], ["pareto", "bars"], tmp_path / "plots", 3.35, skip_absent=False, with_published=False
        )
        assert [paths["csv"].stem for paths in written] == ["pareto-params", "pareto-macs", "bars"]
        assert len(list((tmp_path / "plots").iterdir())) == 9
        (plot, *_) = pareto.plots(sources(run))
        pd.testing.assert_frame_equal(
            pd.read_csv(written[0]["csv"], keep_default_na=False, na_values=[""]).dropna(axis="columns", how="all"),
            plot.data.dropna(axis="columns", how="all"),
            check_dtype=False,
        )
        for paths in written:
            with Image.open(paths["png"]) as image:
                assert image.width == pytest.approx(3.35 * 300, abs=1)

    def test_a_pdf_holds_its_fonts_as_type_42(self, write_run: Any, tmp_path: Path) -> None:
        paths = write_plot(bars.plots(sources(write_run()))[0], tmp_path, 3.35)
        pdf = paths["pdf"].read_bytes()
        assert b"/FontFile2" in pdf
        assert b"/CIDFontType2" in pdf
        assert b"/Type3" not in pdf

    def test_the_same_records_give_the_same_files(self, write_run: Any, tmp_path: Path) -> None:
        plot = bars.plots(sources(write_run()))[0]
        first, second = (write_plot(plot, tmp_path / name, 3.35) for name in ("a", "b"))
        assert all(first[suffix].read_bytes() == second[suffix].read_bytes() for suffix in first)

    def test_the_users_settings_of_matplotlib_change_nothing(self, write_run: Any, tmp_path: Path) -> None:
        plot = bars.plots(sources(write_run()))[0]
        plain = write_plot(plot, tmp_path / "a", 3.35)
        with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "text.parse_math": True}):
            other = write_plot(plot, tmp_path / "b", 3.35)
        assert plain["png"].read_bytes() == other["png"].read_bytes()

    @pytest.mark.parametrize(
        "names",
        [
            ("$x_", "a_$b_c$", "<script>"),
            ("_hidden", r"\frac$", "=cmd()"),
            ("na\u00efve\n\u03a9 \u6a21\u578b", "run" * 100 + "/model", "%"),
        ],
    )
    def test_hostile_names_are_drawn_as_they_are(
        self, write_run: Any, tmp_path: Path, names: tuple[str, str, str]
    ) -> None:
        renamed = dict(zip(("small", "large", "worse"), names, strict=True))
        run = sources(write_run())
        for plot in (pareto.plots(run)[0], *bars.plots(run)):
            data = plot.data.replace(dict.fromkeys(("model", "label", "compressor"), renamed))
            hostile = Plot(f"{plot.name}-{names[1]}", data, plot.draw)
            shown = texts(drawn(hostile))
            for name in names:
                line = " ".join(name.split())
                assert line in shown or {f"{line[:14]}…{line[-15:]}", f"{line[:11]}…{line[-12:]}"} & set(shown)
            paths = write_plot(hostile, tmp_path / "out", 3.35)
            assert all(path.is_file() and path.parent == tmp_path / "out" for path in paths.values())
            assert ("=cmd()" in names) == ("'=cmd()" in paths["csv"].read_text(encoding="utf-8"))


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
        assert re.search("for the plot training. Found none in", error_of("plot", str(run), "--kind", "bars,training"))
        assert not (run / "plots").exists()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--kind", "pie"), "Unknown --kind 'pie'"),
            (("--width", "wide"), "Unknown --width 'wide'"),
            (("nowhere",), "Expected a run's folder"),
            ((), "Expected runs in"),
        ],
    )
    def test_mistakes_are_one_line(self, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
        assert message in error_of("plot", *arguments, cwd=tmp_path)

    def test_published_models_need_no_run(self, tmp_path: Path) -> None:
        result = bench("plot", "--with-published", "--json", cwd=tmp_path)
        assert [Path(paths["csv"]).stem for paths in json.loads(result.stdout)] == [
            "published-params",
            "published-macs",
        ]
        assert (tmp_path / "results" / "plots" / "published-params.pdf").is_file()
