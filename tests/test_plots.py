"""Figures: reproducible SVGs, labelled axes, and pictures with alternative text."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from minimamba.course import plots
from minimamba.course.plots import style

x = torch.linspace(0, 1, 50, dtype=torch.float64)
PLANE = torch.complex(*torch.meshgrid(x - 0.5, x - 0.5, indexing="xy"))
BARS = {"a": {"one": 1.0, "two": 2.0}, "b": {"one": 0.5, "two": 0.25}}
FIGURES = {
    "traces": lambda: plots.traces(x, {"mV": {"input": x, "state": x**2}}),
    "curves": lambda: plots.curves(x + 1, {"line": x + 1}, "step", "error", log="xy"),
    "curves through few points": lambda: plots.curves(x[1:8], {"line": x[1:8]}, "N", "error",
                                                      log="x"),
    "stability of two rules": lambda: plots.stability(
        PLANE, {"one": torch.outer(x, x) + 0.5, "two": torch.outer(x, x) + 0.6}),
    "stability with powers": lambda: plots.stability(
        PLANE, {"one": torch.outer(x, x) + 0.5}, at=0.1j, powers={"one": x}),
    "scan_order": lambda: plots.scan_order([[(0, 0), (1, 1)], [(0, 0), (0, 1)]], [[(0, 1)]], 1),
    "mean_and_range": lambda: plots.mean_and_range(
        x, {"a": torch.stack([x, x**2]), "b": torch.stack([x, x / 2, x])[:, :20]}, "step",
        "accuracy, %", ylim=(0, 1)),
    "mean_and_range of tensors with gradients": lambda: plots.mean_and_range(
        x, {"a": torch.stack([x, x]).requires_grad_()}, "step", "loss"),
    "every_run": lambda: plots.every_run(
        x + 1, {"a": torch.stack([x, x**2]), "b": x[None]}, "length", "accuracy, %", log="x",
        mark={"trained up to": 1.5}),
    "every_seed": lambda: plots.every_seed(
        {"a": 100 * x[:10].view(5, 2), "b": 100 * x[:6].view(3, 2)}, ["64", "256"],
        "accuracy, %", "model", chance=12.5, strong=["b"]),
    "one_step": lambda: plots.one_step([0.1, 0.5], x, 1 - x, {"a": x[:2], "b": x[2:4]}),
    "powers": lambda: plots.powers({"0.5": 0.5 ** torch.arange(4), "−1": -x[:4]}),
    "eigenvalues": lambda: plots.eigenvalues({"one": x + 1j * x, "two": x - 2j * x}),
    "roots_and_eigenvalues": lambda: plots.roots_and_eigenvalues(
        torch.tensor([1, 1j, -1]), torch.tensor([0, 2j, torch.nan]), torch.tensor([0.5j - 0.5])),
    "real eigenvalues": lambda: plots.eigenvalues({"one": x}),
    "images": lambda: plots.images(x[:48].view(3, 4, 4), ["a", "b", "c"], x[:48].view(3, 16)),
    "one image": lambda: plots.images(x[:16].view(1, 4, 4), ["a"], x[:16].view(1, 16)),
    "stacked_bars": lambda: plots.stacked_bars(BARS, "time, ms", "version"),
    "grouped_bars": lambda: plots.grouped_bars(BARS, "time, ms", "shape", mark={"official": 1.0}),
    "roofline": lambda: plots.roofline(4e12, 3e12, {"one": (0.1, 1e11), "two": (2.0, 3e12)},
                                       "operations per byte", "operations per second"),
    "text_heatmaps": lambda: plots.text_heatmaps(
        "ab\n c", {"Δ": x[1:16].view(3, 5), "norm": x[:10].view(2, 5)}, "channel",
        logarithmic=("Δ",)),
    "token_bars": lambda: plots.token_bars(
        "ab\n c", {"bits": {"expected": x[1:6], "needed": x[2:7]}, "p": {"": x[:5]}}),
    "layer_states": lambda: plots.layer_states(
        "ab\n c", 1, 2, x[1:16].view(3, 5), x[:15].view(3, 5), x[:10].view(2, 5),
        x[:10].view(2, 5) - 0.1),
    "convolution": lambda: plots.convolution(x, ", mV", 1 - x, x[:9], x, x + 1j * x, 8),
    "matrices": lambda: plots.matrices({"a": torch.eye(4), "b": torch.ones(4, 4)}, "in", "out"),
    "annotated_heatmaps": lambda: plots.annotated_heatmaps(
        {"a": 100 * x[:6].view(2, 3), "b": 100 * x[:6].view(2, 3)}, ["1", "2"], ["3", "4", "5"],
        "pairs", "state dimension N", "accuracy, %", boundary=[1, 3]),
    "associative_recall": lambda: plots.associative_recall(x[1:5] - 0.5, x[:9],
                                                           100 * x.flip(0)[:8], 2, 3),
    "token_states": lambda: plots.token_states("a.", x[1:3], x[1:3],
                                               {"noise": x[1:3], "a": 1 - x[1:3]}),
    "scalar_ssm": lambda: plots.scalar_ssm(x, x, "mV", "title", 0.5, 1 - x, {"1": 0.4, "2": 0.6},
                                           x**2),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_labelled_axes_and_is_the_same_svg_each_time(name, tmp_path):
    written = []
    for run in ("first", "second"):
        figure = FIGURES[name]()
        (tmp_path / run).mkdir()
        style._write_svg(figure, tmp_path / run, "figure", "a caption")
        written.append((tmp_path / run / "figure.svg").read_bytes())
    assert written[0] == written[1]
    assert b"a caption" in written[0]
    assert isinstance(figure, Figure)
    panels = [ax for ax in figure.axes
              if ax.get_label() != "<colorbar>" and not (ax.images and "image" in name)]
    assert panels[-1].get_xlabel()
    assert panels[0].get_ylabel()


@pytest.fixture
def displayed(monkeypatch):
    outputs = []
    monkeypatch.setattr("IPython.display.display", outputs.append)
    return outputs


def test_show_displays_a_picture_with_its_caption_as_alternative_text(displayed):
    plots.show(FIGURES["traces"](), "figure", "the first * in a caption")
    picture, caption = displayed
    assert picture._repr_png_()[1]["alt"] == "the first * in a caption"
    assert caption.data == r"*the first \* in a caption*"


def test_show_writes_a_file_only_when_asked(displayed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIMAMBA_FIGURES", raising=False)
    plots.show(FIGURES["traces"](), "figure", "a caption")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("MINIMAMBA_FIGURES", str(tmp_path))
    plots.show(FIGURES["traces"](), "figure", "a caption")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.svg"]


def test_compact_makes_a_smaller_file_of_nearly_the_same_picture(tmp_path):
    file = tmp_path / "figure.png"
    FIGURES["traces"]().savefig(file)
    small = tmp_path / "small.png"
    small.write_bytes(plots.compact(file.read_bytes()))
    before, after = (np.asarray(Image.open(f).convert("RGB"), int) for f in (file, small))
    assert before.shape == after.shape
    assert abs(before - after).mean() < 1
    assert small.stat().st_size < 0.7 * file.stat().st_size


def test_no_two_lines_share_a_colour_or_a_dash():
    assert len(set(plots.COLOURS)) == len(plots.COLOURS)
    assert len(set(plots.DASHES)) == len(plots.DASHES) >= len(plots.COLOURS)


def test_mean_and_range_spans_the_lowest_and_the_highest_run():
    runs = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 7.0]])
    ax = plots.mean_and_range(torch.arange(4), {"a": runs}, "epoch", "accuracy",
                              ylim=(-1, 9)).axes[0]
    assert ax.lines[0].get_ydata().tolist() == [2.0, 2.0, 5.0]
    assert ax.lines[0].get_xdata().tolist() == [0, 1, 2]
    corners = ax.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == 1
    assert corners[:, 1].max() == 7
    assert ax.get_ylim() == (-1, 9)


def test_every_run_is_a_line_of_its_own_and_the_median_a_thicker_one():
    runs = torch.tensor([[1.0, 2.0], [3.0, 4.0], [100.0, 9.0]])
    ax = plots.every_run(torch.arange(2), {"a": runs, "b": runs[:1]}, "length", "accuracy",
                         ylim=(-1, 9)).axes[0]
    assert ax.get_ylim() == (-1, 9)
    drawn = [line.get_ydata().tolist() for line in ax.lines]
    assert drawn == [*runs.tolist(), [3.0, 4.0], [1.0, 2.0], [1.0, 2.0]]
    widths = [line.get_linewidth() for line in ax.lines]
    assert max(widths[:3]) < 1 < widths[3]
    assert [text.get_text() for text in ax.get_legend().texts] == ["a (3 runs)", "b (1 runs)"]
    ax = plots.every_run(torch.arange(2), {"a": runs, "b": runs[:1]}, "length", "accuracy",
                         median=False).axes[0]
    assert [line.get_ydata().tolist() for line in ax.lines] == [*runs.tolist(), [1.0, 2.0]]
    assert [text.get_text() for text in ax.get_legend().texts] == ["a (3 runs)", "b (1 runs)"]


def test_eigenvalues_have_their_real_parts_on_the_x_axis():
    points = x + 2j * x
    for groups in ({"one": points}, {"one": points, "two": -points}):
        figure = plots.eigenvalues(groups)
        assert [ax.get_title() for ax in figure.axes] == list(groups)
        for ax, expected in zip(figure.axes, groups.values(), strict=True):
            drawn = torch.from_numpy(ax.lines[1].get_xydata().copy())
            assert torch.equal(torch.view_as_complex(drawn), expected)


def test_each_image_stands_above_its_signal_and_is_dark_where_there_is_ink():
    pictures = x[:48].view(3, 4, 4)
    figure = plots.images(pictures, ["a", "b", "c"], 2 * pictures.flatten(1) - 1)
    above, below = figure.axes[:3], figure.axes[3:]
    for ax, title, picture in zip(above, "abc", pictures, strict=True):
        assert ax.get_title() == title
        image, = ax.images
        assert torch.equal(torch.from_numpy(image.get_array().data), picture)
        assert image.cmap(1.0) == to_rgba("black")
    for ax, picture in zip(below, pictures, strict=True):
        tops = torch.tensor([bar.get_y() + bar.get_height() for bar in ax.patches])
        assert torch.allclose(tops, 2 * picture.flatten() - 1, atol=1e-6)
        assert ax.get_ylim()[0] < -1 < 1 < ax.get_ylim()[1]


@pytest.mark.parametrize("shown", [0, 1, 2])
def test_scan_order_marks_complete_positions_up_to_the_level_shown(shown):
    levels = [[(0, 1), (2, 3)], [(1, 2), (1, 3)]]
    covered = [[(0, 0), (1, 1), (2, 2), (3, 3)], [(0, 0), (0, 1), (2, 2), (2, 3)],
               [(0, 0), (0, 1), (0, 2), (0, 3)]]
    ax, = plots.scan_order(covered, levels, shown).axes
    labels = [text.get_text() for text in ax.texts if text.get_text()]
    assert labels == ["1 ✓", "2", "3", "4", "1 ✓", "1–2 ✓", "3", "3–4",
                      "1 ✓", "1–2 ✓", "1–3 ✓", "1–4 ✓"][:4 * (shown + 1)]
    assert [box.get_linewidth() for box in ax.patches] == [2 if "✓" in label else 0.8
                                                           for label in labels]
    arrows = [text for text in ax.texts if not text.get_text()]
    assert len(arrows) == 2 * sum(map(len, levels[:shown]))


def test_one_step_ends_where_each_rule_lands_with_each_step_size():
    after = {"a": torch.tensor([0.9, 0.5]), "b": torch.tensor([0.8, -0.4])}
    for i, ax in enumerate(plots.one_step([0.1, 0.5], x, 1 - x, after).axes):
        ends = [line.get_xydata()[0].tolist() for line in ax.lines if len(line.get_xdata()) == 1]
        assert ends == [[[0.1, 0.5][i], pytest.approx(float(after[rule][i]))] for rule in "ab"]


def test_each_state_without_input_is_a_bar_with_its_sign():
    ax, = plots.powers({"−½": torch.tensor([1.0, -0.5, 0.25])}).axes
    assert [(bar.get_x() + 0.4, bar.get_height()) for bar in ax.patches] == [
        (0, 1), (1, -0.5), (2, 0.25)]


def test_every_seed_is_a_dot_in_the_panel_of_its_setting():
    runs = {"a": torch.tensor([[10.0, 20.0], [30.0, 60.0]]), "b": torch.tensor([[50.0, 70.0]])}
    for i, ax in enumerate(plots.every_seed(runs, ["64", "256"], "accuracy", "", chance=1).axes):
        drawn = [[*line.get_xdata()] for line in ax.lines]
        assert drawn[:4:2] == [runs["a"][:, i].tolist(), runs["b"][:, i].tolist()]
        assert [mean[0] for mean in drawn[1:4:2]] == [[20, 40][i], [50, 70][i]]


def test_grouped_bars_of_a_row_stand_side_by_side():
    ax, = plots.grouped_bars(BARS, "time, ms", "shape", mark={"official": 1.0}).axes
    boxes = [(round(bar.get_y(), 3), bar.get_width()) for bar in ax.patches]
    assert boxes == [(-0.4, 1.0), (0.6, 0.5), (0.0, 2.0), (1.0, 0.25)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.yaxis_inverted()
    assert [*ax.lines[0].get_xdata()] == [1, 1]


def test_stacked_bars_of_a_row_are_end_to_end():
    ax, = plots.stacked_bars(BARS, "time, ms", "version").axes
    boxes = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert boxes == [(0, 1.0), (0, 0.5), (1.0, 2.0), (0.5, 0.25)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.yaxis_inverted()


def test_text_heatmaps_have_a_visible_character_under_each_column():
    rows = x[:10].view(2, 5)
    maps = {"Δ": rows, "norm": 2 * rows}
    first, second, *_ = plots.text_heatmaps("ab\n c", maps, "channel").axes
    assert [label.get_text() for label in second.get_xticklabels()] == ["a", "b", "⏎", "·", "c"]
    for ax, expected in ((first, rows), (second, 2 * rows)):
        assert torch.equal(torch.from_numpy(ax.images[0].get_array().data), expected)


def test_token_bars_stand_side_by_side_over_their_character():
    first, second = {"a": x[:3], "b": 2 * x[:3]}, {"": x[3:6]}
    above, below = plots.token_bars("p q", {"bits": first, "p": second}).axes
    for ax, values in ((above, [*x[:3], *(2 * x[:3])]), (below, x[3:6])):
        assert [bar.get_height() for bar in ax.patches] == list(map(float, values))
    for left, right in zip(above.patches[:3], above.patches[3:], strict=True):
        assert left.get_x() + left.get_width() == pytest.approx(right.get_x())
    assert names_at(below.get_xticks(), below.get_xticklabels()) == {0: "p", 1: "·", 2: "q"}
    assert [round(left.get_x() + left.get_width(), 6) for left in above.patches[:3]] == [0, 1, 2]


def test_the_mamba_block_names_its_parts_and_their_widths():
    ax, = plots.mamba_block(768, 1536, 16, 48).axes
    text = " ".join(text.get_text() for text in ax.texts)
    for part in ("u 768", "x 1,536", "z 1,536", "A 1,536 × 16", "B, C 16", "rank 48", "RMSNorm",
                 "in_proj", "conv1d", "out_proj"):
        assert part in text


def test_annotated_heatmaps_write_numbers_and_leave_gaps():
    values = torch.tensor([[100.0, 41.6], [torch.nan, 0.0]])
    figure = plots.annotated_heatmaps({"": values}, ["a", "b"], ["1", "2"], "pairs", "N",
                                      "accuracy, %")
    assert [text.get_text() for text in figure.axes[0].texts] == ["100", "42", "0"]


def test_the_roofline_is_the_lower_of_two_limits():
    figure = plots.roofline(2.0, 10.0, {"a kernel": (1.0, 2.0)}, "per byte", "per second",
                            {"cache": 4.0})
    intensity, rate = figure.axes[0].lines[0].get_data()
    np.testing.assert_allclose(rate, np.minimum(2 * intensity, 10))
    assert rate[0] < 10 == rate[-1]
    intensity, rate = figure.axes[0].lines[1].get_data()
    np.testing.assert_allclose(rate, np.minimum(4 * intensity, 10))


@pytest.mark.parametrize(("log", "scales"), [
    ("", ("linear", "linear")), ("x", ("log", "linear")), ("y", ("linear", "log")),
    ("xy", ("log", "log"))])
def test_logarithmic_axes_are_those_that_are_named(log, scales):
    ax, = plots.curves(x + 1, {"line": x + 1}, "step", "error", log=log).axes
    assert (ax.get_xscale(), ax.get_yscale()) == scales


def test_the_stable_region_is_filled():
    ax, _ = FIGURES["stability of two rules"]().axes
    assert ax.collections[0].levels.tolist() == [0, 1]


# What stands beside a row, below a column or in a legend belongs to its data.

ONE = torch.zeros(3, 4)
ONE[2, 1] = 100
HEATMAPS = {
    "annotated_heatmaps": lambda: plots.annotated_heatmaps(
        {"a": ONE}, ["p", "q", "r"], ["1", "2", "3", "4"], "pairs", "N", "accuracy, %"),
    "text_heatmaps": lambda: plots.text_heatmaps("1234", {"a": ONE}, "token",
                                                 rows=["p", "q", "r"]),
    "token_states": lambda: plots.token_states("1234", x[1:5], x[1:5],
                                               dict(zip("pqr", ONE / 100, strict=True))),
}


def names_at(ticks, labels):
    return dict(zip(map(float, ticks), (label.get_text() for label in labels), strict=True))


@pytest.mark.parametrize("name", HEATMAPS)
def test_the_cell_of_a_heatmap_that_is_lit_has_its_own_names(name):
    figure = HEATMAPS[name]()
    figure.draw_without_rendering()
    ax, = (ax for ax in figure.axes if ax.images and ax.get_label() != "<colorbar>")
    values, (left, right, bottom, top) = ax.images[0].get_array(), ax.images[0].get_extent()
    if ax.images[0].origin == "lower":
        bottom, top = top, bottom
    row, column = np.unravel_index(np.argmax(values), values.shape)
    down = top + (row + 0.5) * (bottom - top) / values.shape[0]
    across = left + (column + 0.5) * (right - left) / values.shape[1]
    assert names_at(ax.get_yticks(), ax.get_yticklabels())[down] == "r"
    assert names_at(ax.get_xticks(), ax.get_xticklabels())[across] == "2"


@pytest.mark.parametrize("draw", [plots.grouped_bars, plots.stacked_bars])
def test_a_bar_has_the_name_of_its_row_and_the_colour_of_its_name_in_the_legend(draw):
    ax, = draw(BARS, "time, ms", "shape").axes
    rows = names_at(ax.get_yticks(), ax.get_yticklabels())
    legend = dict(zip((tuple(patch.get_facecolor()) for patch in ax.get_legend().get_patches()),
                      (text.get_text() for text in ax.get_legend().get_texts()), strict=True))
    found = {}
    for bar in ax.patches:
        row = min(rows, key=lambda at: abs(at - bar.get_y() - bar.get_height() / 2))
        found.setdefault(rows[row], {})[legend[bar.get_facecolor()]] = bar.get_width()
    assert found == BARS


LINES = {"first": x + 1, "second": x + 2, "third": x + 3}
LEGENDS = {
    "traces": lambda: plots.traces(x, {"mV": LINES}),
    "curves": lambda: plots.curves(x, LINES, "step", "error"),
    "mean_and_range": lambda: plots.mean_and_range(
        x, {label: y.expand(2, -1) for label, y in LINES.items()}, "step", "loss"),
}


@pytest.mark.parametrize("name", LEGENDS)
def test_a_line_has_the_look_of_its_name_in_the_legend(name):
    ax = LEGENDS[name]().axes[0]
    for text, handle in zip(ax.get_legend().get_texts(), ax.get_legend().legend_handles,
                            strict=True):
        drawn = [line.get_ydata() for line in ax.lines
                 if len(line.get_ydata()) == len(x) and line.get_color() == handle.get_color()]
        assert len(drawn) == 1
        assert drawn[0] == pytest.approx(LINES[text.get_text()].numpy())
