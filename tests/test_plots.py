"""Figures: the same bytes each time, axes named, pictures with words."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from minimamba.course import plots

x = torch.linspace(0, 1, 50, dtype=torch.float64)
FIGURES = {
    "traces": lambda: plots.traces(x, {"mV": {"input": x, "state": x**2}}),
    "curves": lambda: plots.curves(x + 1, {"line": x + 1}, "step", "error", log="xy"),
    "curves of few points": lambda: plots.curves(x[1:8], {"line": x[1:8]}, "N", "error", log="x"),
    "stability": lambda: plots.stability(
        torch.complex(*torch.meshgrid(x - 0.5, x - 0.5, indexing="xy")),
        {"one": torch.outer(x, x) + 0.5, "two": torch.outer(x, x) + 0.6}),
    "stability of one": lambda: plots.stability(
        torch.complex(*torch.meshgrid(x - 0.5, x - 0.5, indexing="xy")),
        {"one": torch.outer(x, x) + 0.5}),
    "order": lambda: plots.order([[(0, 0), (1, 1)], [(0, 0), (0, 1)]], [[(0, 1)]], 1),
    "one image": lambda: plots.images(x[:16].view(1, 4, 4), ["a"], x[:16].view(1, 16)),
    "real eigenvalues": lambda: plots.eigenvalues({"one": x}),
    "spread of what has a gradient": lambda: plots.spread(
        x, {"a": torch.stack([x, x]).requires_grad_()}, "step", "loss"),
    "spread": lambda: plots.spread(
        x, {"a": torch.stack([x, x**2]), "b": torch.stack([x, x / 2, x])[:, :20]}, "step",
        "accuracy, %", ylim=(0, 1)),
    "eigenvalues": lambda: plots.eigenvalues({"one": x + 1j * x, "two": x - 2j * x}),
    "images": lambda: plots.images(x[:48].view(3, 4, 4), ["a", "b", "c"], x[:48].view(3, 16)),
    "stacked": lambda: plots.stacked({"a": {"one": 1.0, "two": 2.0},
                                      "b": {"one": 0.5, "two": 0.1}}, "time, ms", "version"),
    "beside": lambda: plots.beside({"a": {"one": 1.0, "two": 2.0}, "b": {"one": 0.5, "two": 0.1}},
                                   "time, ms", "shape", mark={"theirs": 1.0}),
    "roofline": lambda: plots.roofline(4e12, 3e12, {"one": (0.1, 1e11), "two": (2.0, 3e12)},
                                       "operations a byte", "operations a second"),
    "programs": lambda: plots.programs(torch.tensor([[0, 0, 1], [0, 0, 1]]),
                                       torch.tensor([[0, 0, 0], [1, 1, 1]]), "channel", "step"),
    "states": lambda: plots.states("ab\n c", {"Δ": x[1:16].view(3, 5), "norm": x[:10].view(2, 5)},
                                   "channel", logarithmic=("Δ",)),
    "watched": lambda: plots.watched("ab\n c", 1, 2, x[1:16].view(3, 5), x[:15].view(3, 5),
                                     x[:10].view(2, 5), x[:10].view(2, 5) - 0.1),
    "convolution": lambda: plots.convolution(x, ", mV", 1 - x, x[:9], x, x + 1j * x, 8),
    "matrices": lambda: plots.matrices({"a": torch.eye(4), "b": torch.ones(4, 4)}, "in", "out"),
    "tables": lambda: plots.tables({"a": 100 * x[:6].view(2, 3), "b": 100 * x[:6].view(2, 3)},
                                   ["1", "2"], ["3", "4", "5"], "pairs", "numbers", "right, %",
                                   line=[1, 3]),
    "recall": lambda: plots.recall(x[1:5] - 0.5, x[:9], 100 * x.flip(0)[:8], 2, 3),
    "tokens": lambda: plots.tokens("a.", x[1:3], x[1:3], {"noise": x[1:3], "a": 1 - x[1:3]}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_axes_are_named(name):
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    panels = [ax for ax in figure.axes
              if ax.get_label() != "<colorbar>" and not (ax.images and "image" in name)]
    assert panels[-1].get_xlabel()
    assert panels[0].get_ylabel()


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_code_writes_the_same_svg(name, tmp_path, monkeypatch):
    written = []
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv("MINIMAMBA_FIGURES", str(tmp_path / folder))
        plots.show(FIGURES[name](), "figure", "a caption")
        written.append((tmp_path / folder / "figure.svg").read_bytes())
    assert written[0] == written[1]
    assert b"a caption" in written[0]


def test_show_displays_a_picture_with_its_caption_as_alternative_text(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    plots.show(FIGURES["traces"](), "figure", "a caption")
    picture, caption = shown
    assert picture._repr_png_()[1]["alt"] == "a caption"
    assert caption.data == "*a caption*"


def test_show_writes_nothing_unless_asked(monkeypatch, tmp_path):
    monkeypatch.delenv("MINIMAMBA_FIGURES", raising=False)
    monkeypatch.chdir(tmp_path)
    plots.show(FIGURES["traces"](), "figure", "a caption")
    assert list(tmp_path.iterdir()) == []


def test_compact_keeps_the_picture(tmp_path):
    file = tmp_path / "figure.png"
    FIGURES["traces"]().savefig(file)
    small = tmp_path / "small.png"
    small.write_bytes(plots.compact(file.read_bytes()))
    before, after = (Image.open(f).convert("RGB") for f in (file, small))
    assert before.size == after.size
    difference = [abs(a - b) for a, b in zip(before.tobytes(), after.tobytes(), strict=True)]
    assert sum(difference) / len(difference) < 1
    assert small.stat().st_size < 0.7 * file.stat().st_size


def test_colours_stay_apart_for_the_colour_blind():
    # Okabe and Ito's palette, checked by eye and by others; what a test can hold is that no
    # two lines share a colour or a dash.
    assert len(set(plots.COLOURS)) == len(plots.COLOURS)
    assert len(set(plots.DASHES)) == len(plots.DASHES) >= len(plots.COLOURS)


def test_a_spread_runs_from_the_worst_to_the_best():
    runs = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 7.0]])
    ax = plots.spread(torch.arange(4), {"a": runs}, "epoch", "accuracy").axes[0]
    assert ax.lines[0].get_ydata().tolist() == [2.0, 2.0, 5.0]
    assert ax.lines[0].get_xdata().tolist() == [0, 1, 2]
    corners = ax.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == 1
    assert corners[:, 1].max() == 7


def test_a_spread_keeps_to_the_limits_it_is_given():
    figure = plots.spread(x, {"a": torch.stack([x, x**2])}, "step", "accuracy, %", ylim=(-1, 3))
    assert figure.axes[0].get_ylim() == (-1, 3)


def test_eigenvalues_have_their_real_part_to_the_right():
    points = x + 2j * x
    for groups in ({"one": points}, {"one": points, "two": -points}):
        figure = plots.eigenvalues(groups)
        assert [ax.get_title() for ax in figure.axes] == list(groups)
        for ax, wanted in zip(figure.axes, groups.values(), strict=True):
            given = torch.from_numpy(ax.lines[1].get_xydata().copy())
            assert torch.equal(torch.view_as_complex(given), wanted)


def test_each_picture_stands_over_its_signal_with_its_ink_dark():
    pictures = x[:48].view(3, 4, 4)
    figure = plots.images(pictures, ["a", "b", "c"], 2 * pictures.flatten(1) - 1)
    above, below = figure.axes[:3], figure.axes[3:]
    for ax, title, picture in zip(above, "abc", pictures, strict=True):
        assert ax.get_title() == title
        image, = ax.images
        assert torch.equal(torch.from_numpy(image.get_array().data), picture)
        assert image.cmap(1.0) == to_rgba("black")
    for ax, picture in zip(below, pictures, strict=True):
        assert torch.equal(torch.from_numpy(ax.lines[0].get_ydata().copy()),
                           2 * picture.flatten() - 1)
        assert ax.get_ylim()[0] < -1 < 1 < ax.get_ylim()[1]


@pytest.mark.parametrize("shown", [0, 1, 2])
def test_an_order_shows_what_has_been_joined_and_no_more(shown):
    levels = [[(0, 1), (2, 3)], [(1, 2), (1, 3)]]
    covered = [[(0, 0), (1, 1), (2, 2), (3, 3)], [(0, 0), (0, 1), (2, 2), (2, 3)],
               [(0, 0), (0, 1), (0, 2), (0, 3)]]
    ax, = plots.order(covered, levels, shown).axes
    words = [text.get_text() for text in ax.texts if text.get_text()]
    assert words == ["1 ✓", "2", "3", "4", "1 ✓", "1–2 ✓", "3", "3–4",
                     "1 ✓", "1–2 ✓", "1–3 ✓", "1–4 ✓"][:4 * (shown + 1)]
    assert [box.get_linewidth() for box in ax.patches] == [2 if "✓" in word else 0.8
                                                           for word in words]
    arrows = [text for text in ax.texts if not text.get_text()]
    assert len(arrows) == 2 * sum(map(len, levels[:shown]))


def test_bars_stand_beside_each_other_in_the_row_they_belong_to():
    rows = {"a": {"one": 1.0, "two": 2.0}, "b": {"one": 0.5, "two": 0.25}}
    ax, = plots.beside(rows, "time, ms", "shape", mark={"theirs": 1.0}).axes
    boxes = [(round(bar.get_y(), 3), bar.get_width()) for bar in ax.patches]
    assert boxes == [(-0.4, 1.0), (0.6, 0.5), (0.0, 2.0), (1.0, 0.25)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.yaxis_inverted()


def test_stacked_bars_start_where_the_part_before_them_ends():
    rows = {"a": {"one": 1.0, "two": 2.0}, "b": {"one": 0.5, "two": 0.25}}
    ax, = plots.stacked(rows, "time, ms", "version").axes
    boxes = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert boxes == [(0, 1.0), (0, 0.5), (1.0, 2.0), (0.5, 0.25)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.yaxis_inverted()


def test_states_stand_over_their_characters():
    rows = x[:10].view(2, 5)
    first, second, *_ = plots.states("ab\n c", {"Δ": rows, "norm": 2 * rows}, "channel").axes
    assert [label.get_text() for label in second.get_xticklabels()] == ["a", "b", "⏎", "·", "c"]
    for ax, wanted in ((first, rows), (second, 2 * rows)):
        assert torch.equal(torch.from_numpy(ax.images[0].get_array().data), wanted)


def test_a_block_says_how_wide_its_parts_are():
    ax, = plots.block(768, 1536, 16, 48).axes
    words = " ".join(text.get_text() for text in ax.texts)
    for part in ("u 768", "x 1,536", "z 1,536", "A 1,536 × 16", "B, C 16", "48 numbers", "RMSNorm",
                 "in_proj", "conv1d", "out_proj"):
        assert part in words


def test_a_table_writes_its_numbers_and_leaves_gaps():
    values = torch.tensor([[100.0, 41.6], [torch.nan, 0.0]])
    figure = plots.tables({"": values}, ["a", "b"], ["1", "2"], "pairs", "numbers", "right, %")
    assert [text.get_text() for text in figure.axes[0].texts] == ["100", "42", "0"]


def test_a_roof_is_the_lower_of_two_limits():
    figure = plots.roofline(2.0, 10.0, {"a kernel": (1.0, 2.0)}, "operations a byte", "a second")
    x, y = figure.axes[0].lines[0].get_data()
    np.testing.assert_allclose(y, np.minimum(2 * x, 10))
    assert y[0] < 10 == y[-1]


def test_logarithmic_axes_are_those_that_are_named():
    scales = [(plots.curves(x + 1, {"line": x + 1}, "step", "error", log=log).axes[0].get_xscale(),
               plots.curves(x + 1, {"line": x + 1}, "step", "error", log=log).axes[0].get_yscale())
              for log in ("", "x", "y", "xy")]
    assert scales == [("linear", "linear"), ("log", "linear"), ("linear", "log"), ("log", "log")]


def test_what_fades_is_filled():
    ax, _ = FIGURES["stability"]().axes
    assert ax.collections[0].levels.tolist() == [0, 1]
