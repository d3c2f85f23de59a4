"""Schematics: legible at 700 pixels, every word inside the picture and none on top of another."""

from itertools import combinations

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation

from minimamba.course import plots
from minimamba.course.plots import style
from minimamba.s4 import dplr, hippo
from minimamba.scan import associative

x = torch.linspace(0, 1, 4)
weights = torch.tensor([1, 0.5, 0.25, 0.125])
eight = torch.tensor([4.0, 3, 2, 4, 4, 2, 1, 1.5])
order = associative.hillis_steele(8)
SCHEMATICS = {
    "attention_beside_recurrence": lambda: plots.attention_beside_recurrence(list("abcdef")),
    "discrete_parameters": lambda: plots.discrete_parameters(
        x, -x[:2], x[:2], torch.outer(x, x[:2]), torch.outer(x, x[:2])),
    "gated_recurrences": lambda: plots.gated_recurrences(),
    "held_input": lambda: plots.held_input(x, torch.ones(4), x, 4 * x, x),
    "hold_and_reset": lambda: plots.hold_and_reset(x, 1 - x),
    "nonlinear_beside_linear": lambda: plots.nonlinear_beside_linear(),
    "road": lambda: plots.road({"one": ["00 a", "01 b"], "two": ["02 c"], "three": ["03 d"]}),
    "timeline": lambda: plots.timeline({"2021": ["S4"], "2023": ["RWKV", "Mamba"]}),
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
    "bracketings": lambda: plots.bracketings(0.1, 0.2, 0.3),
    "chunked_scan": lambda: plots.chunked_scan(eight, 0 * eight + 0.125, eight, 4),
    "combined_steps": lambda: plots.combined_steps((0.5, 4), (0.5, 1), (0.25, 3), 10),
    "forward_and_backward": lambda: plots.forward_and_backward(x, -x, x, -x, x),
    "handed_state": lambda: plots.handed_state(37, 53),
    "hbm_traffic": lambda: plots.hbm_traffic(12.6, 201.3),
    "saved_states": lambda: plots.saved_states(32, 8),
    "scan_values": lambda: plots.scan_values(
        4 * [8 * ["× .0625\n+ 1.25"]], order, associative.covered(8, order), 4 * ["after level 1"]),
    "threads_and_blocks": plots.threads_and_blocks,
    "work_and_depth": lambda: plots.work_and_depth(
        {"loop": 7 * [1], "Hillis–Steele": [7, 6, 4], "Blelloch": [4, 2, 1, 1, 3]}),
    "hippo_projection": lambda: plots.hippo_projection(x, torch.stack([x, 2 * x], 1), x[:2], x - 1),
    "kernel_and_spectrum": lambda: plots.kernel_and_spectrum(
        0.5 ** torch.arange(4), ["1", "-i", "-1", "i"], ["1.875", "0.75 − 0.375i"] * 2),
    "matrix_structures": lambda: plots.matrix_structures(hippo.legs(4)[0]),
    "normal_plus_low_rank": lambda: plots.normal_plus_low_rank(
        *(dplr.nplr("legs", 4)[i] for i in (0, 2, 3))),
    "s4_block": plots.s4_block,
    "s4_kernel_steps": plots.s4_kernel_steps,
    "vandermonde_product": lambda: plots.vandermonde_product(x[1:3], x[2:4], x / 7),
    "broadcast_beside_projection": lambda: plots.broadcast_beside_projection(4),
    "s4_beside_s6": plots.s4_beside_s6,
    "query_scores": lambda: plots.query_scores(
        ["1st", "2nd"], torch.tensor([[12.3, 7.2], [-8.3, 13.6]])),
    "selective_steps": lambda: plots.selective_steps(list("a..b"), x, x, 1 - x, x, 2 * x),
    "ssm_projections": lambda: plots.ssm_projections(6, 4, 2),
    "ssm_shapes": lambda: plots.ssm_shapes(4, 3, 2),
    "ssm_step_shapes": lambda: plots.ssm_step_shapes(
        x[:3], x[1:], -torch.ones(3, 2), x[:2], torch.ones(3, 2), -torch.ones(3, 2)),
    "token_channels": lambda: plots.token_channels(
        list("a..b"), {"channel 1": x, "channel 2": 1 - x}, {"channel 1": x, "channel 2": -x}),
    "token_channels without states": lambda: plots.token_channels(
        list("a..b" * 5), {"channel 17": x.repeat(5)}),
    "token_sequences": lambda: plots.token_sequences(
        ["①", "fixed distances"], ["a..b??", "..ba??"], ["ab", "ba"]),
    "layer_of_channels": plots.layer_of_channels,
    "matrix_times_input": lambda: plots.matrix_times_input(
        {"one": torch.eye(4), "two": torch.ones(4, 4).tril()}, weights, x),
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


SHOWN = {
    "hippo_projection": ["1.0", "−2.0", "3.0"],
    "vandermonde_product": ["2", "1", "0.5", "0.25", "2", "1", "0.5"],
    "s4_block": ["state dimension $N$ = 64",
                 *(f"$A_{d}, B_{d}, C_{d}, \\Delta_{d}$" for d in range(4))],
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
