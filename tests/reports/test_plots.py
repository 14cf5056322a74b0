"""Figures show what the records say."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from bench.errors import UserError
from bench.leaderboard.published import published_rows
from bench.leaderboard.score import superb_score
from bench.reports.plots import architecture, bars, hours, layer_weights, pareto, training
from bench.reports.plots.canvas import WIDTHS_IN
from bench.reports.plots.fronts import pareto_front
from bench.reports.plots.series import looks_of
from bench.reports.plots.sources import Source
from bench.reports.plots.writing import NothingToDrawError, Plot
from bench.upstream.config import ReducedLinear
from tests.helpers.plots import drawn, sources, texts
from tests.helpers.run_folders import STUDENT_SCORES


def labels(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


class TestPareto:
    def test_a_thousand_rows_take_seconds(self, write_run: Any) -> None:
        (plot, *_) = pareto.plots(sources(write_run()))
        generator = np.random.default_rng(0)
        rows = plot.data[plot.data["task"] == "ks"].iloc[[1] * 1000].reset_index(drop=True)
        names = [f"model-{index}" for index in range(1000)]
        many = rows.assign(
            model=names, label=names, params=generator.random(1000) * 1e6 + 1e5, score=generator.random(1000)
        )
        many = many.assign(on_front=many["params"].rank() <= 10)
        started = time.process_time()
        figure = drawn(Plot(plot.name, many, plot.draw))
        assert time.process_time() - started < 20
        # Of so many, only the front has labels, and those that the user asked for.
        assert len(labels(figure.axes[0])) == 10
        asked = next(iter(set(names) - set(many.loc[many["on_front"], "model"])))
        assert asked in labels(drawn(Plot(plot.name, many, plot.draw), labels=frozenset([asked])).axes[0])

    def test_a_line_joins_the_best_row_of_every_size_of_a_method(self, write_run: Any) -> None:
        plot = pareto.plots(sources(write_run()))[0]
        data = plot.data[plot.data["task"] == "ks"]
        sizes = {"small": 0.75, "large": 0.5, "worse": 0.5}
        data = data.assign(target_sparsity=data["model"].map(sizes))
        (axes,) = drawn(Plot(plot.name, data, plot.draw)).axes
        (line,) = (
            one
            for one in axes.lines
            if one.get_color() == looks_of(["dphubert"])["dphubert"].color and len(one.get_xdata()) > 1
        )
        np.testing.assert_allclose(line.get_xydata(), [[250e-6, 55], [500e-6, 70]])

    def test_a_method_has_one_colour_in_every_figure(self, write_run: Any) -> None:
        several = looks_of(["other", "prune-only", "dphubert"])
        assert several["dphubert"] == looks_of(["dphubert"])["dphubert"]
        assert len({look.color for look in several.values()}) > 6
        run = sources(write_run())
        color = to_hex(several["dphubert"].color)
        (panel, *_) = drawn(pareto.plots(run)[0]).axes
        assert {
            to_hex(line.get_color()) for line in panel.lines if line.get_marker() == several["dphubert"].marker
        } == {color}
        (panel,) = drawn(bars.plots(run)[0]).axes
        assert color in {to_hex(patch.get_facecolor()) for patch in panel.patches}

    def test_the_front_is_what_no_other_point_beats(self) -> None:
        generator = np.random.default_rng(0)
        for _ in range(200):
            costs, scores = generator.integers(1, 8, (2, 12)).astype(float)
            for higher in (True, False):
                gains = scores if higher else -scores
                beaten = [
                    any(
                        costs[other] <= costs[one]
                        and gains[other] >= gains[one]
                        and (costs[other] < costs[one] or gains[other] > gains[one])
                        for other in range(12)
                    )
                    for one in range(12)
                ]
                front = pareto_front(costs, scores, higher_is_better=higher)
                assert (~front).tolist() == beaten

    def test_data_are_the_records_means_and_spreads(self, write_run: Any) -> None:
        plots = {plot.name: plot for plot in pareto.plots(sources(write_run()))}
        assert set(plots) == {"pareto-params", "pareto-macs"}
        table = plots["pareto-params"].data.set_index(["task", "model"])
        small = table.loc[("ks", "small")]
        assert (small["score"], small["params"], small["macs_superb"]) == (pytest.approx(55.0), 250, 500)
        assert small["score_std"] == pytest.approx(np.std([60, 50], ddof=1))
        assert set(table.loc["asr"].query("on_front").index) == {"teacher", "small", "large"}
        assert not table.loc[("ks", "worse"), "on_front"]
        assert table.loc[("asr", "teacher"), "is_teacher"]

    @pytest.mark.parametrize("width", ["column", "page"])
    def test_every_model_is_a_labelled_point_of_every_panel(self, write_run: Any, width: str) -> None:
        plot = pareto.plots(sources(write_run()))[0]
        figure = drawn(plot, width)
        assert figure.get_figwidth() == WIDTHS_IN[width]
        assert len(figure.axes) == 2
        for axes, task in zip(figure.axes, ("asr", "ks"), strict=True):
            rows = plot.data[plot.data["task"] == task]
            points = [line.get_xydata()[0] for line in axes.lines if line.get_marker() not in ("None", "_", "|")]
            assert sorted(map(tuple, points)) == sorted(zip(rows["params"] / 1e6, rows["score"], strict=True))
            labels = [text for text in axes.texts if text.get_text()]
            assert {label.get_text() for label in labels} == set(STUDENT_SCORES)
            boxes = [label.get_window_extent() for label in labels]
            assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        assert "ASR WER (%) ↓" in [axes.get_title(loc="left") for axes in figure.axes]

    def test_runs_with_filter_banks_are_ranked_by_the_relative_score(self, write_run: Any) -> None:
        scores = {**STUDENT_SCORES, "fbank": {"ks": (0.35,), "asr": (0.8,)}}
        (table, *_) = [plot.data for plot in pareto.plots(sources(write_run(scores=scores)))]
        assert set(table["metric"]) == {"relative_score"}
        # A model without parameters has no place on the axis.
        relative = dict(zip(table["model"], table["score"], strict=True))
        assert set(relative) == set(STUDENT_SCORES)
        assert relative["teacher"] == pytest.approx(100)
        assert relative["small"] == pytest.approx(100 * (0.2 / 0.5 + 0.35 / 0.6) / 2)

    def test_relative_scores_over_other_tasks_are_not_ranked(self, write_run: Any) -> None:
        scores = {**STUDENT_SCORES, "fbank": {"ks": (0.35,), "asr": (0.8,)}}
        fewer = {model: {"ks": tasks["ks"]} for model, tasks in scores.items()}
        runs = sources(write_run("a", scores), write_run("b", fewer))
        (table, *_) = [plot.data for plot in pareto.plots(runs)]
        assert set(table["metric"]) == {"accuracy", "wer"}

    def test_bytes_where_parameters_do_not_tell_them(self, write_run: Any) -> None:
        (source,) = sources(write_run())
        assert source.board is not None
        source.board.table.loc[source.board.table["model"] == "worse", "size_bytes"] = 200
        plots = {plot.name: plot for plot in pareto.plots([source])}
        assert set(plots) == {"pareto-params", "pareto-size", "pareto-macs"}
        table = plots["pareto-size"].data.set_index(["task", "model"])
        assert table.loc[("ks", "worse"), "on_front"]
        assert table.loc[("ks", "small"), ["params", "size_bytes"]].tolist() == [250, 1000]
        assert "size (MB)" in [axes.get_xlabel() for axes in drawn(plots["pareto-size"]).axes]

    def test_latency_by_the_machine_that_measured_it(self, write_run: Any) -> None:
        (source,) = sources(write_run())
        assert source.board is not None
        source.board.table["rtf"] = [0.04, 0.01, 0.02, 0.03]
        source.board.table["measured_on"] = "fast"
        (plot,) = [plot for plot in pareto.plots([source]) if "latency" in plot.name]
        assert plot.name == "pareto-latency"
        assert any("RTF on one thread of fast" in text.replace("\n", " ") for text in texts(drawn(plot)))
        source.board.table["measured_on"] = ["fast", "slow", "fast", "slow"]
        parts = {plot.name: plot.data for plot in pareto.plots([source]) if "latency" in plot.name}
        assert {name: set(table["measured_on"]) for name, table in parts.items()} == {
            "pareto-latency-machine1": {"fast"},
            "pareto-latency-machine2": {"slow"},
        }
        # Each machine has a front of its own.
        assert all(table.groupby("task")["on_front"].any().all() for table in parts.values())

    def test_runs_that_cannot_be_compared_have_figures_of_their_own(self, write_run: Any) -> None:
        runs = sources(write_run("a"), write_run("b"), write_run("c", data="mini-2"))
        plots = {plot.name: plot.data for plot in pareto.plots(runs)}
        assert set(plots) == {f"pareto-{cost}-{number}" for cost in ("params", "macs") for number in (1, 2)}
        assert set(plots["pareto-params-1"]["data"]) == {"mini-1"}
        # The same rows, so they are drawn once.
        assert len(plots["pareto-params-1"]) == 8

    def test_equal_names_of_different_rows_are_told_apart(self, write_run: Any) -> None:
        other = {**STUDENT_SCORES, "small": {"ks": (0.1, 0.1), "asr": (0.9, 0.9)}}
        (table, *_) = [plot.data for plot in pareto.plots(sources(write_run("a"), write_run("b", other)))]
        assert {"a/small", "b/small", "teacher", "large"} <= set(table["label"])

    @pytest.mark.parametrize("width", WIDTHS_IN)
    def test_long_labels_stay_in_their_panel(self, write_run: Any, width: str) -> None:
        tasks = {"small": {"ks": (0.5,), "asr": (0.6,), "sid": (0.7,), "er": (0.8,)}}
        plot = pareto.plots(sources(write_run(scores={"teacher": {"ks": (0.9,)}, **tasks})))[0]
        data = plot.data.assign(label="mini-hubert-mini-mini-4c7256e2/small")
        figure = drawn(Plot(plot.name, data, plot.draw), width)
        labels = [text for axes in figure.axes for text in axes.texts]
        assert len(labels) == len(data)
        for label in labels:
            box, panel = label.get_window_extent(), label.axes.bbox
            assert panel.x0 - 0.1 <= box.x0 <= box.x1 <= panel.x1 + 0.1

    def test_one_equal_score_does_not_take_a_model_for_another(self, write_run: Any) -> None:
        other = {**STUDENT_SCORES, "small": {**STUDENT_SCORES["small"], "asr": (0.9, 0.9)}}
        runs = sources(write_run("a"), write_run("b", other))
        rows = pareto.plots(runs)[0].data.set_index("label")
        assert set(rows.loc["b/small", "task"]) == set(rows.loc["a/small", "task"]) == {"ks", "asr"}

    def test_published_models_are_marked_and_never_beside_other_corpora(self, write_run: Any) -> None:
        params, macs = (plot.data for plot in pareto.published_plots(sources(write_run())))
        assert set(params["compressor"]) == {"published"}
        assert params["is_published"].all()
        assert set(macs["metric"]) == {"superb_score"}
        scores = {row.model: superb_score(row.scores) for row in published_rows()}
        assert all(scores[row.model] == pytest.approx(row.score) for row in params.itertuples())
        plot = pareto.published_plots([])[0]
        shown = texts(drawn(plot))
        assert "published" in shown
        assert "published results on SUPERB's corpora, not of this suite" in " ".join(shown).replace("\n", " ")
        assert not any("protocol" in text for text in shown)


class TestBars:
    def test_errors_are_turned_and_the_teacher_is_100(self, write_run: Any) -> None:
        (plot,) = bars.plots(sources(write_run()))
        table = plot.data.set_index(["task", "model"])
        assert table.loc[("ks", "small"), "relative"] == pytest.approx(100 * 55 / 85)
        assert table.loc[("asr", "small"), "relative"] == pytest.approx(100 * (100 - 45) / (100 - 20))
        assert table.loc[("asr", "small"), "relative_std"] == pytest.approx(100 * np.std([40, 50], ddof=1) / 80)
        assert "teacher" not in table.index.get_level_values("model")

    def test_a_bar_for_each_model_and_task(self, write_run: Any) -> None:
        (plot,) = bars.plots(sources(write_run()))
        (axes,) = drawn(plot).axes
        heights = sorted(patch.get_height() for patch in axes.patches)
        assert heights == pytest.approx(sorted(plot.data["relative"]))

    def test_names_below_do_not_touch_in_a_column(self, write_run: Any) -> None:
        (plot,) = bars.plots(sources(write_run(scores={"teacher": {"ks": (0.8,)}, "small": {"ks": (0.5,)}})))
        table = pd.concat([plot.data.assign(task=task) for task in ("ks", "sid", "er", "ic", "a", "b", "c")])
        (axes,) = drawn(Plot(plot.name, table, plot.draw)).axes
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert len(boxes) == 7
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))

    def test_from_eight_rows_on_it_is_a_dot_plot(self, write_run: Any) -> None:
        many = {f"m{index}": {"ks": (0.5,), "asr": (0.5,)} for index in range(20)}
        (plot,) = bars.plots(sources(write_run(scores=STUDENT_SCORES | many)))
        figure = drawn(plot)
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["ASR WER", "KS acc."]
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert len(names) == 23
        assert names[0] == "large"
        assert not figure.axes[0].patches

    def test_the_legend_of_long_names_is_no_wider_than_the_figure(self, write_run: Any) -> None:
        many = {f"{index}-students-with-endless-names": {"ks": (0.5,)} for index in range(4)}
        (plot,) = bars.plots(sources(write_run(scores=STUDENT_SCORES | many)))
        figure = drawn(plot)
        legend, (panel,) = figure.legends[0].get_window_extent(), figure.axes
        assert legend.x0 >= 0
        assert legend.x1 <= figure.bbox.width
        assert panel.get_window_extent().height > 0.2 * figure.bbox.width

    def test_a_teacher_of_another_run_of_the_same_setting_is_found(self, write_run: Any) -> None:
        (plot,) = bars.plots(sources(write_run("a"), write_run("b", {**STUDENT_SCORES, "new": {"ks": (0.4,)}})))
        new = plot.data.set_index(["task", "model"]).loc[("ks", "new")]
        assert new["relative"] == pytest.approx(100 * 40 / 85)

    def test_no_teacher_is_one_clear_line(self, write_run: Any) -> None:
        with pytest.raises(NothingToDrawError, match="and of their teacher, for the plot bars"):
            bars.plots(sources(write_run(scores={"small": STUDENT_SCORES["small"]})))


class TestArchitecture:
    def test_what_each_layer_kept(self, write_run: Any, save_student: Any) -> None:
        run = write_run()
        save_student(run, "small", teacher="random:mini-hubert")
        (plot,) = architecture.plots([Source(run, "run", sources(run)[0].models)])
        table = plot.data.set_index(["part", "layer"])
        assert plot.name == "architecture-small"
        assert table.loc["convolution channels", "kept"].tolist() == [8, 7, 6, 5, 4, 3, 2]
        heads = table.loc["attention heads"].iloc[:4]
        assert heads["kept"].tolist() == [2, 0, 1, 0]
        assert heads["kept_heads"].tolist() == ["1 3", "", "0", ""]
        assert heads["teacher_heads"].tolist() == ["0 1 2 3"] * 4
        assert table.loc["feed-forward width", "kept"].iloc[:3].tolist() == [10, 64, 0]
        figure = drawn(plot)
        boxes = figure.axes[1].collections
        assert [len(collection.get_paths()) for collection in boxes] == [4 * 12, 3]
        assert "attention heads\n3 of 48" in texts(figure)

    def test_parts_that_lost_nothing_have_no_panel(self, write_run: Any, save_student: Any) -> None:
        run = write_run()
        save_student(run, "small", teacher="random:mini-hubert")
        (plot,) = architecture.plots([Source(run, "run", sources(run)[0].models)])
        is_conv = plot.data["part"] == "convolution channels"
        data = plot.data.assign(kept=plot.data["kept"].where(~is_conv, plot.data["teacher"]))
        figure = drawn(Plot(plot.name, data, plot.draw))
        assert len(figure.axes) == 2
        assert "all kept: convolution channels" in texts(figure)

    def test_ranks_of_low_rank_models(self, write_run: Any, save_student: Any) -> None:
        run = write_run()
        dense = {"layers.0.feed_forward.output_dense": ReducedLinear(dtype="int8")}
        ranks = {"layers.0.attention.q_proj": 5, "layers.1.feed_forward.output_dense": 3}
        low_rank = {module: ReducedLinear(rank=rank) for module, rank in ranks.items()}
        shape = save_student(run, "small", dense | low_rank, teacher="random:mini-hubert")
        (plot,) = architecture.plots([Source(run, "run", sources(run)[0].models)])
        table = plot.data.set_index(["part", "layer"])
        full = [min(shape.dim, len(layer.heads) * shape.head_dim) for layer in shape.layers]
        assert table.loc["attention ranks", "kept"].iloc[:4].tolist() == [3 * full[0] + 5, 0, 4 * full[2], 0]
        widths = [min(shape.dim, layer.feed_forward) for layer in shape.layers]
        assert table.loc["feed-forward ranks", "kept"].iloc[:3].tolist() == [2 * widths[0], widths[1] + 3, 0]
        assert set(table.loc["attention ranks", "teacher"]) == {4 * 128}
        for width in ("column", "page"):
            figure = drawn(plot, width)
            assert f"feed-forward ranks\n{2 * widths[0] + widths[1] + 3:,} of {12 * 2 * 128:,}" in texts(figure)

    def test_without_the_teacher_it_is_drawn_without_outline(self, write_run: Any, save_student: Any) -> None:
        run = write_run()
        save_student(run, "small")
        (plot,) = architecture.plots(sources(run))
        assert plot.data["teacher"].isna().all()
        assert "attention heads\n3" in texts(drawn(plot, "page"))


class TestTraining:
    def test_updates_are_counted_over_the_stages(self, write_run: Any, save_student: Any) -> None:
        run = write_run()
        save_student(run, "small")
        (plot,) = training.plots(sources(run))
        assert plot.data["update_in_all"].tolist() == [10, 20, 25, 30]
        figure = drawn(plot)
        assert [axes.get_ylabel() for axes in figure.axes] == [
            "loss",
            "distillation",
            "sparsity",
            "lambda",
            "learning rate",
        ]
        loss = figure.axes[0].lines[0].get_xydata()
        assert loss.tolist() == [[10, -0.3], [20, -0.5], [25, -0.7], [30, -0.8]]
        expected, target = (line.get_ydata().tolist() for line in figure.axes[2].lines[:2])
        assert (expected, target) == ([0.1, 0.7], [0.02, 0.75])
        assert {"joint", "final"} <= set(texts(figure))

    def test_names_of_many_stages_are_told_below(self, tmp_path: Path) -> None:
        rows = [f"{stage},{update},{5 + update % 2}" for stage in ("head", "recovery-1", "end") for update in (1, 2)]
        (tmp_path / "training.csv").write_text("\n".join(["stage,update,masked_loss", *rows]).replace("masked_", ""))
        table = training.training_table(tmp_path / "training.csv").assign(masked_loss=4.0)
        figure = drawn(Plot("training", table, training.draw))
        assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2", "3"]
        assert "stages: 1 head, 2 recovery-1, 3 end" in texts(figure)
        legend = figure.axes[0].get_legend().get_window_extent()
        highest = max(line.get_window_extent().y1 for line in figure.axes[0].lines)
        assert highest < legend.y0

    def test_the_sparsity_after_hardening(self, tmp_path: Path) -> None:
        history = "stage,update,loss,expected_sparsity,target_sparsity,hardened_sparsity"
        (tmp_path / "training.csv").write_text(f"{history}\njoint,1,1,0.1,0.2,0.05\njoint,2,1,0.3,0.5,0.45\n")
        table = training.training_table(tmp_path / "training.csv")
        sparsity = drawn(Plot("training", table, training.draw)).axes[1]
        assert sparsity.lines[2].get_ydata().tolist() == [0.05, 0.45]
        assert sparsity.get_legend().get_texts()[2].get_text() == "hardened"

    def test_the_embedded_teachers_own_training(self) -> None:
        import bench.upstream

        folder = Path(bench.upstream.__file__).parent / "mini_hubert"
        (plot,) = training.plots(sources(folder))
        history = pd.read_csv(folder / "training.csv")
        assert len(plot.data) == len(history)
        # The stage that trains the extractor has no masks.
        assert plot.data["masked_accuracy"].reset_index(drop=True).equals(history["masked_accuracy"])
        assert plot.data["update_in_all"].is_monotonic_increasing
        assert "accuracy" in texts(drawn(plot, "page"))

    def test_a_torn_history_is_told(self, write_run: Any, save_student: Any) -> None:
        run = write_run()
        save_student(run, "small")
        (run / "models" / "small" / "training.csv").write_text("a,b\n1,2\n")
        with pytest.raises(UserError, match=r"columns stage, update and loss in .*training\.csv"):
            training.plots(sources(run))


class TestLayerWeights:
    def test_means_over_seeds_the_teacher_first(self, write_run: Any) -> None:
        run = write_run("run", {name: {"ks": (0.5,)} for name in ("a", "teacher")})
        for model, weights in {"a": [[0.2, 0.8], [0.4, 0.6]], "teacher": [[0.5, 0.3, 0.2]]}.items():
            record = json.loads((run / f"cells/{model}/ks-seed0.json").read_text())
            for seed, one in enumerate(weights):
                record["cell"]["seed"] = seed
                record["settings"] = {"layer_weights": one}
                (run / f"cells/{model}/ks-seed{seed}.json").write_text(json.dumps(record))
        (plot,) = layer_weights.plots(sources(run))
        assert plot.name == "layer-weights-a"
        table = plot.data.set_index(["label", "hidden_state"])
        assert table.index.tolist() == [("teacher", 0), ("teacher", 1), ("teacher", 2), ("a", 0), ("a", 1)]
        assert table["weight"].tolist() == pytest.approx([0.5, 0.3, 0.2, 0.3, 0.7])
        assert table.loc[("a", 0), "weight_std"] == pytest.approx(np.std([0.2, 0.4], ddof=1))
        assert table["num_seeds"].tolist() == [1, 1, 1, 2, 2]
        figure = drawn(plot)
        assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["teacher", "a"]
        grids = [axes.collections[0].get_array() for axes in figure.axes[:2]]
        assert grids[0].compressed().tolist() == pytest.approx([0.5, 0.3, 0.2])
        # A student with fewer layers leaves the rest of its row blank.
        assert grids[1].compressed().tolist() == pytest.approx([0.3, 0.7])

    def test_records_without_them_are_one_clear_line(self, write_run: Any) -> None:
        with pytest.raises(NothingToDrawError, match="layer-weights"):
            layer_weights.plots(sources(write_run()))


class TestHours:
    def test_several_runs_are_points_of_a_line(self, write_run: Any, save_student: Any) -> None:
        runs = []
        for heard, accuracy in ((1.0, 0.3), (10.0, 0.5), (100.0, 0.7)):
            scores = {"teacher": {"ks": (0.8,)}, "small": {"ks": (accuracy, accuracy + 0.1)}}
            runs.append(write_run(f"run{heard:g}", scores))
            save_student(runs[-1], "small", audio_hours=heard)
        (plot,) = hours.plots(sources(*runs))
        students = plot.data[~plot.data["is_teacher"]]
        assert students["audio_hours"].tolist() == [1, 10, 100]
        assert students["score"].tolist() == pytest.approx([35, 55, 75])
        figure = drawn(plot)
        (axes,) = figure.axes
        curve = next(line for line in axes.lines if line.get_marker() == "s")
        np.testing.assert_allclose(curve.get_xydata(), [[1, 35], [10, 55], [100, 75]])
        assert {"hours of training audio", "KS acc. (%) ↑"} <= set(texts(figure))

    def test_one_amount_of_audio_is_no_curve(self, write_run: Any, save_student: Any) -> None:
        run = write_run()
        save_student(run, "small", audio_hours=1.0)
        with pytest.raises(NothingToDrawError, match=r"different hours .* Found 1 in"):
            hours.plots(sources(run))
