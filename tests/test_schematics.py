"""Schematics: legible at 700 pixels, every word inside the picture and none on top of another."""

from itertools import combinations

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation

from minimamba.course import plots
from minimamba.course.plots import style

x = torch.linspace(0, 1, 4)
SCHEMATICS = {
    "attention_beside_recurrence": lambda: plots.attention_beside_recurrence(list("abcdef")),
    "discrete_parameters": lambda: plots.discrete_parameters(
        x, -x[:2], x[:2], torch.outer(x, x[:2]), torch.outer(x, x[:2])),
    "gated_recurrences": lambda: plots.gated_recurrences(),
    "held_input": lambda: plots.held_input(x, torch.ones(4), x, 4 * x, x),
    "hold_and_reset": lambda: plots.hold_and_reset(x, 1 - x),
    "nonlinear_beside_linear": lambda: plots.nonlinear_beside_linear(),
    "road": lambda: plots.road({"one": ["00 a", "01 b"], "two": ["02 c"], "three": ["03 d"]}),
    "recurrence_steps": lambda: plots.recurrence_steps(list("a..b"), x, 1 - x, 2 * x),
    "selective_layer": lambda: plots.selective_layer(5, 4),
    "continuous_loop": lambda: plots.continuous_loop(),
    "dense_beside_diagonal": lambda: plots.dense_beside_diagonal(
        [["−3", "−40"], ["40", "−3"]], ["−3 + 40i", "−3 − 40i"]),
    "pasts_of_one_state": lambda: plots.pasts_of_one_state(
        ["3 s ago", "2 s ago", "1 s ago", "now"], x.flip(0), torch.diag(x), x),
    "two_bases": lambda: plots.two_bases(
        torch.eye(2), torch.tensor([[1.0, 0.0], [0.995, 0.1]]), torch.tensor([0.0, 1.0]),
        torch.tensor([-9.95, 10.0])),
    "weighted_curves": lambda: plots.weighted_curves(
        -99 * x, torch.outer(x, x), x, ("now", "100 ms ago"), ("sum of 64 terms", x)),
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
