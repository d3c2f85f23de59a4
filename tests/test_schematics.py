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
    "recurrence_steps": lambda: plots.recurrence_steps(list("a..b"), x, 1 - x, 2 * x),
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
