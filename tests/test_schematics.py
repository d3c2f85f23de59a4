"""Schematics: legible at 700 pixels, every word inside the picture and none on top of another."""

from itertools import combinations

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation

from minimamba.course import plots
from minimamba.course.plots import style

x = torch.linspace(0, 1, 4)
weights = torch.tensor([1, 0.5, 0.25, 0.125])
SCHEMATICS = {
    "attention_beside_recurrence": lambda: plots.attention_beside_recurrence(list("abcdef")),
    "layer_of_channels": lambda: plots.layer_of_channels(),
    "matrix_times_input": lambda: plots.matrix_times_input(
        {"one": torch.eye(4), "two": torch.ones(4, 4).tril()}, weights, x),
    "nonlinear_beside_linear": lambda: plots.nonlinear_beside_linear(),
    "road": lambda: plots.road({"one": ["00 a", "01 b"], "two": ["02 c"], "three": ["03 d"]}),
    "recurrence_steps": lambda: plots.recurrence_steps(list("a..b"), x, 1 - x, 2 * x),
    "sliding_kernel": lambda: plots.sliding_kernel(x, weights),
    "two_modes": lambda: plots.two_modes(x, 0.5, weights, 2 * x),
    "unrolled_recurrence": lambda: plots.unrolled_recurrence(x, 0.5, 2 * x),
    "wrapped_convolution": lambda: plots.wrapped_convolution(torch.arange(7) / 4, 4),
}


@pytest.mark.parametrize("name", SCHEMATICS)
def test_a_schematic_is_the_same_svg_each_time(name, tmp_path):
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        style._write_svg(SCHEMATICS[name](), tmp_path / run, "figure", "a caption")
    first, second = ((tmp_path / run / "figure.svg").read_bytes() for run in ("first", "second"))
    assert first == second
    assert b"a caption" in first


@pytest.mark.parametrize("name", SCHEMATICS)
def test_the_words_of_a_schematic_are_legible_inside_it_and_apart(name):
    figure = SCHEMATICS[name]()
    assert 6.5 <= figure.get_figwidth() <= 7.5          # inches of 100 pixels in a notebook
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = [t for ax in figure.axes for t in ax.texts
             if t.get_text() and not isinstance(t, Annotation)]
    boxes = {t: t.get_window_extent(renderer) for t in texts}
    for t, area in boxes.items():
        assert t.get_fontsize() >= 7.9, t.get_text()     # 11 pixels
        assert min(area.x0, area.y0) >= 0, t.get_text()
        assert max(area.x1 - figure.bbox.x1, area.y1 - figure.bbox.y1) <= 0, t.get_text()
    for a, b in combinations(texts, 2):
        assert not boxes[a].padded(-1).overlaps(boxes[b].padded(-1)), (a.get_text(), b.get_text())
