"""Schematics: legible at 700 pixels, every word inside the picture and none on top of another."""

from itertools import combinations

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation

from minimamba.course import plots
from minimamba.course.plots import style
from minimamba.s4 import dplr, hippo

x = torch.linspace(0, 1, 4)
SCHEMATICS = {
    "attention_beside_recurrence": lambda: plots.attention_beside_recurrence(list("abcdef")),
    "hippo_projection": lambda: plots.hippo_projection(x, torch.stack([x, 2 * x], 1), x[:2], x - 1),
    "kernel_and_spectrum": lambda: plots.kernel_and_spectrum(
        0.5 ** torch.arange(4), ["1", "-i", "-1", "i"], ["1.875", "0.75 − 0.375i"] * 2),
    "matrix_structures": lambda: plots.matrix_structures(hippo.legs(4)[0]),
    "normal_plus_low_rank": lambda: plots.normal_plus_low_rank(
        *(dplr.nplr("legs", 4)[i] for i in (0, 2, 3))),
    "recurrence_steps": lambda: plots.recurrence_steps(list("a..b"), x, 1 - x, 2 * x),
    "s4_block": plots.s4_block,
    "s4_kernel_steps": plots.s4_kernel_steps,
    "vandermonde_product": lambda: plots.vandermonde_product(x[1:3], x[2:4], x / 7),
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


SHOWN = {
    "hippo_projection": ["1.0", "−2.0", "3.0"],
    "vandermonde_product": ["2", "1", "0.5", "0.25", "2", "1", "0.5"],
    "s4_block": [f"$A, B, C, \\Delta_{d}$   $N$ = 64" for d in range(4)],
    "normal_plus_low_rank": ["−1.0", "0", "−1.7", "−2.0", "−0.5", "0.9", "−0.9", "−0.5",
                             "0.7", "1.2", "0.7", "1.2"],
    "kernel_and_spectrum": ["$\\omega = 1$", "$\\omega = -1$", "1", "0.5", "1.5", "0.5"],
}
FIGURES = {
    "hippo_projection": lambda: plots.hippo_projection(
        x, torch.stack([x, x, x], 1), torch.tensor([1.0, -2.0, 3.0]), x),
    "vandermonde_product": lambda: plots.vandermonde_product(
        torch.tensor([0.5]), torch.tensor([2.0]), torch.tensor([2, 1, 0.5])),
    "s4_block": plots.s4_block,
    "normal_plus_low_rank": lambda: plots.normal_plus_low_rank(
        *(dplr.nplr("legs", 2)[i] for i in (0, 2, 3))),
    "kernel_and_spectrum": lambda: plots.kernel_and_spectrum(
        torch.tensor([1, 0.5]), ["1", "-1"], ["1.5", "0.5"]),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_schematic_of_s4_shows_the_values_in_their_order(name):
    texts = [text.get_text() for text in FIGURES[name]().axes[0].texts]
    assert [text for text in texts if text in SHOWN[name]] == SHOWN[name]
