"""Schematics: legible at 700 pixels, every word inside the picture and none on top of another."""

import inspect
from collections import Counter
from collections.abc import Mapping
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.text import Annotation

from minimamba.course import plots
from minimamba.course.plots import schematic
from minimamba.s4 import dplr, hippo
from minimamba.scan import associative

x = torch.linspace(0, 1, 4)
weights = torch.tensor([1, 0.5, 0.25, 0.125])
eight = torch.tensor([4.0, 3, 2, 4, 4, 2, 1, 1.5])
order = associative.hillis_steele(8)
steps = torch.arange(4)
toeplitz = (0.5 ** (steps[:, None] - steps)).tril()
SCHEMATICS = {
    "attention_beside_recurrence": partial(plots.attention_beside_recurrence, list("abcdef")),
    "discrete_parameters": partial(
        plots.discrete_parameters,
        x, -x[:2], x[:2], torch.outer(x, x[:2]), torch.outer(x, x[:2])),
    "gated_recurrences": partial(plots.gated_recurrences),
    "held_input": partial(plots.held_input, x, torch.ones(4), x / 2, 4 * x, x),
    "hold_and_reset": partial(plots.hold_and_reset, x, 1 - x),
    "nonlinear_beside_linear": partial(plots.nonlinear_beside_linear),
    "road": partial(plots.road, {"one": ["00 a", "01 b"], "two": ["02 c"], "three": ["03 d"]}),
    "timeline": partial(plots.timeline, {"2021": ["S4"], "2023": ["RWKV", "Mamba"]}),
    "query_scores": partial(
        plots.query_scores, ["1st", "2nd"], torch.tensor([[12.3, 7.2], [-8.3, 13.6]])),
    "recurrence_steps": partial(plots.recurrence_steps, list("a..b"), x, 1 - x, 2 * x),
    "selective_layer": partial(plots.selective_layer, 5, 4),
    "continuous_loop": partial(plots.continuous_loop),
    "dense_beside_diagonal": partial(
        plots.dense_beside_diagonal,
        [["−3", "−40"], ["40", "−3"]], ["−3 + 40i", "−3 − 40i"]),
    "pasts_of_one_state": partial(
        plots.pasts_of_one_state,
        ["3 s ago", "2 s ago", "1 s ago", "now"], x.flip(0), torch.diag(x), x),
    "two_bases": partial(
        plots.two_bases,
        torch.eye(2), torch.tensor([[1.0, 0.0], [0.995, 0.1]]), torch.tensor([0.0, 1.0]),
        torch.tensor([-9.95, 10.0])),
    "weighted_curves": partial(
        plots.weighted_curves,
        -99 * x, torch.outer(x, x), x, ("now", "100 ms ago"), ("sum of 64 terms", x)),
    "bracketings": partial(plots.bracketings, 0.1, 0.2, 0.3),
    "chunked_scan": partial(plots.chunked_scan, eight, 0 * eight + 0.125, eight, 4),
    "combined_steps": partial(plots.combined_steps, (0.5, 4), (0.5, 1), (0.25, 3), 10),
    "forward_and_backward": partial(plots.forward_and_backward, x, -x, x, -x, x),
    "autograd_function": partial(plots.autograd_function),
    "backward_program": partial(plots.backward_program),
    "chunk_recomputation": partial(plots.chunk_recomputation, 10, 4),
    "gradient_flow": partial(
        plots.gradient_flow,
        {f"gradient {i}": i / 3 for i in range(11)}, {f"× $f_{i}$": i / 7 for i in range(9)}),
    "curriculum": partial(plots.curriculum, [8, 16, 24], [1, 2, 2, 3]),
    "exchanged_states": partial(
        plots.exchanged_states, [("* a b", "c *"), ("* d e", "f *")], ("slow", "others")),
    "rounded_sum": partial(plots.rounded_sum, 0.5, 0.25, 0.0625),
    "training_loop": partial(plots.training_loop, ["in_proj", "conv1d"], ["A_log", "D", "norm"]),
    "lost_update": partial(plots.lost_update, 10.0, 3.0, 4.0),
    "program_sums": partial(plots.program_sums, 3, 3, 4),
    "reverse_programs": partial(plots.reverse_programs, 5, 6, 4),
    "step_gradients": partial(plots.step_gradients, 4, 4),
    "handed_state": partial(plots.handed_state, 37, 53),
    "hbm_traffic": partial(plots.hbm_traffic, 12.6, 201.3),
    "saved_states": partial(plots.saved_states, 32, 8),
    "scan_values": partial(
        plots.scan_values,
        4 * [8 * ["× .0625\n+ 1.25"]], order, associative.covered(8, order), 4 * ["after level 1"]),
    "threads_and_blocks": partial(plots.threads_and_blocks),
    "carried_tiles": partial(
        plots.carried_tiles,
        torch.tensor([0.5, 0.25, 0.75, 1]), torch.tensor([4.0, 1, 2, 0]),
        torch.tensor([4.0, 2, 3.5, 3.5]), 3, 2),
    "masked_load": partial(plots.masked_load, [float(i) for i in range(20, 30)], 4, 2, 0.5),
    "memory_hierarchy": partial(
        plots.memory_hierarchy, 132, "256 KB", "128 KB", "60 MB", "141 GB", "7 TB/s", "4 TB/s"),
    "operation_traffic": partial(
        plots.operation_traffic, {"exp": (64.2, 63.1), "stack": (40.4, 33.3)}, (10.6, 4.1)),
    "program_tiles": partial(plots.program_tiles, (5, 6), (4, 4), ("row", "column")),
    "program_tiles of one row": partial(plots.program_tiles, (10,), (4,), ("element",)),
    "program_tiles one by one": partial(
        plots.program_tiles, (10, 5), (4, 4), ("step", "channel"), True),
    "scan_on_gpu": partial(plots.scan_on_gpu),
    "scan_program": partial(plots.scan_program),
    "scanned_tile": partial(
        plots.scanned_tile,
        torch.arange(6.0).view(3, 2), torch.arange(6.0).view(3, 2).cumsum(0), "sum",
        ("step", "channel")),
    "strides": partial(plots.strides, torch.arange(10.0, 16.0).view(2, 3)),
    "work_and_depth": partial(
        plots.work_and_depth,
        {"loop": 7 * [1], "Hillis–Steele": [7, 6, 4], "Blelloch": [4, 2, 1, 1, 3]}),
    "compensated_sums": partial(
        plots.compensated_sums, ["100", "0.4"], ["100", "101"], ["102", "103"], ["0", "−0.4"]),
    "lane_layouts": partial(plots.lane_layouts, 8, 16, 4),
    "lane_sums": partial(plots.lane_sums, torch.arange(16.0).view(4, 4)),
    "load_timelines": partial(
        plots.load_timelines, {"in turn": torch.tensor([[0, 6, 9], [9.0, 15, 18]]),
                               "ahead": torch.tensor([[0, 6, 9], [0, 6, 12.0]])}),
    "recomputed_states": partial(plots.recomputed_states, 64, 4),
    "split_passes": partial(plots.split_passes, 3, 2),
    "hippo_projection": partial(
        plots.hippo_projection, x, torch.stack([x, 2 * x], 1), x[:2], x - 1),
    "chunk_program": partial(plots.chunk_program, 4),
    "duality_forms": partial(plots.duality_forms, 8, 4),
    "factored_block": partial(plots.factored_block, x[1:3], 0.5, x[2:4]),
    "mamba2_block": partial(plots.mamba2_block, 768, 1536, 128, 24),
    "fetched_value": partial(plots.fetched_value, list("nDeHpA-e"), 7, 3),
    "layer_rows": partial(
        plots.layer_rows, {"none": ["Mamba"] * 8, "four, four MLPs": ["attention", "MLP"] * 4}),
    "product_memory": partial(
        plots.product_memory, [x[1:3], x[:2]], [x[2:], x[1:3] + 4], x[1:3] - 2),
    "routed_experts": partial(plots.routed_experts, torch.tensor([0.55, 0.1, 0.3, 0.05]), 2),
    "shared_states": partial(
        plots.shared_states, ["aa", "ab", "ba", "bb"], ["00", "01", "10"], [1, 2, 0, 2]),
    "mask_blocks": partial(plots.mask_blocks, toeplitz, 2, 4),
    "mask_blocks without values": partial(plots.mask_blocks, torch.eye(9), 4, 2),
    "masked_scores": partial(
        plots.masked_scores, toeplitz[:3, :3], torch.arange(9.0).view(3, 3) + 1, x[:3] - 4),
    "shared_decay": partial(plots.shared_decay, 3, 4),
    "kernel_and_spectrum": partial(
        plots.kernel_and_spectrum,
        0.5 ** torch.arange(4), ["1", "-i", "-1", "i"], ["1.875", "0.75 − 0.375i"] * 2),
    "matrix_structures": partial(plots.matrix_structures, hippo.legs(4)[0]),
    "normal_plus_low_rank": partial(
        plots.normal_plus_low_rank,
        *(dplr.nplr("legs", 4)[i] for i in (0, 2, 3))),
    "s4_block": partial(plots.s4_block),
    "s4_kernel_steps": partial(plots.s4_kernel_steps),
    "vandermonde_product": partial(plots.vandermonde_product, x[1:3], x[2:4], x / 7),
    "broadcast_beside_projection": partial(plots.broadcast_beside_projection, 4),
    "s4_beside_s6": partial(plots.s4_beside_s6),
    "selective_steps": partial(plots.selective_steps, list("a..b"), x, x, 1 - x, x, 2 * x),
    "ssm_projections": partial(plots.ssm_projections, 6, 4, 2),
    "ssm_shapes": partial(plots.ssm_shapes, 4, 3, 2, 2),
    "ssm_step_shapes": partial(
        plots.ssm_step_shapes,
        x[1:], -x[1:], -torch.ones(3, 2), x[:2], torch.ones(3, 2), -torch.ones(3, 2)),
    "token_channels": partial(
        plots.token_channels,
        list("a..b"), {"channel 1": x, "channel 2": 1 - x}, {"channel 1": x, "channel 2": -x}),
    "token_channels without states": partial(
        plots.token_channels,
        list("a..b" * 5), {"channel 17": x.repeat(5)}),
    "token_sequences": partial(
        plots.token_sequences,
        ["①", "fixed distances"], ["a..b??", "..ba??"], ["ab", "ba"]),
    "block_family": partial(plots.block_family),
    "exchanged_layer_state": partial(
        plots.exchanged_layer_state, "x = 'one", 'y = "two', 3, 1, "z"),
    "layer_stacks": partial(plots.layer_stacks, 2),
    "padded_and_packed": partial(plots.padded_and_packed, "abc", "vwxyz"),
    "prefill_and_decode": partial(plots.prefill_and_decode, list("abcde"), list("xyz"), 4),
    "reached_inputs": partial(
        plots.reached_inputs, {"past": torch.ones(4, 4).tril(), "future": torch.ones(4, 4).triu()}),
    "layer_of_channels": partial(plots.layer_of_channels),
    "matrix_times_input": partial(
        plots.matrix_times_input,
        {"one": toeplitz, "two": torch.ones(4, 4).tril()}, weights, x),
    "sliding_kernel": partial(plots.sliding_kernel, x, weights),
    "two_modes": partial(plots.two_modes, x, 0.5, weights, 2 * x),
    "unrolled_recurrence": partial(plots.unrolled_recurrence, x, 0.5, 2 * x),
    "wrapped_convolution": partial(plots.wrapped_convolution, torch.arange(7) / 4, 4),
}


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
                 *(f"$A_{d}, B_{d}, C_{d}, D_{d}, \\Delta_{d}$" for d in range(4))],
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


NOT_IN_READING_ORDER = {"two_bases", "query_scores",    # words at the ends of vectors, on bars
                        "gradient_flow"}                # from right to left
ONLY_AS_A_BORDER = {("scan_values", "covered")}  # whether complete: see PARTS


class Paper:
    """Stands for a figure and its axes, but only notes what is drawn: that takes no time."""

    def __init__(self, *size, unit=0.5):
        self.texts, self.marks = [], [size, unit]

    def text(self, x, y, text, **look):
        self.texts.append((text, x, y))
        self.marks.append((text, x, y, look["color"], look["fontsize"]))

    def add_patch(self, patch):
        self.marks.append((str(patch), patch.get_facecolor(), patch.get_linewidth()))

    def annotate(self, text, head, tail, **look):
        self.marks.append((head, tail, look["arrowprops"]["color"]))

    def plot(self, x, y, **look):
        self.marks.append((np.asarray(x).tolist(), np.asarray(y).tolist(), look["color"]))


def changes(value, path=()):
    """Each single value inside an argument: its path, and the argument with only it changed."""
    if isinstance(value, torch.Tensor):
        for index in np.ndindex(*value.shape):
            changed = value.clone()
            changed[index] += 1.3
            yield path + index, changed
    elif isinstance(value, str):
        for i in sorted({0, len(value) - 1}):
            yield (*path, int(i > 0)), value[:i] + "q" + value[i + 1:]
    elif isinstance(value, int | float):
        yield path, value - 1 if isinstance(value, int) else value + 1.3
    elif value is not None:
        for i, key in enumerate(value if isinstance(value, Mapping) else range(len(value))):
            for inner, changed in changes(value[key], (*path, i)):
                if isinstance(value, Mapping):
                    yield inner, {**value, key: changed}
                else:
                    yield inner, [*value[:i], changed, *value[i + 1:]]


def assert_in_reading_order(places, is_matrix):
    """Assert that each value stands to the right of the one before it, or below it."""
    for path, (x, y) in places.items():
        for level, i in enumerate(path):
            before = places.get((*path[:level], i - 1, *path[level + 1:]))
            if before is None:
                continue
            right, down = x - before[0], y - before[1]
            if is_matrix:
                assert (down > 0.1) if level == 0 else (right >= 0 and abs(down) < 0.1), path
            else:
                assert right > 0 or down > 0 or right == down == 0, path


@pytest.mark.parametrize("name", SCHEMATICS)
def test_a_schematic_shows_each_value_it_is_given_and_in_reading_order(name, monkeypatch):
    monkeypatch.setattr(schematic, "drawing", lambda *size, **unit: 2 * (Paper(*size, **unit),))
    given = inspect.signature(SCHEMATICS[name].func).bind(*SCHEMATICS[name].args)
    given.apply_defaults()
    plain = SCHEMATICS[name]()
    for argument, value in given.arguments.items():
        if (name, argument) in ONLY_AS_A_BORDER:
            continue
        if isinstance(value, Mapping):
            words = [text for text, *_ in plain.texts if text in value]
            assert list(dict.fromkeys(words)) == list(value)
        places = {}
        for path, changed in changes(value):
            drawn = SCHEMATICS[name].func(**{**given.arguments, argument: changed})
            assert drawn.marks != plain.marks, (argument, path)
            different = [place for (old, *_), (new, *place)
                         in zip(plain.texts, drawn.texts, strict=False) if old != new]
            if different:
                places[path] = different[0]
        if name not in NOT_IN_READING_ORDER:
            assert_in_reading_order(places, isinstance(value, torch.Tensor) and value.ndim == 2)


def parts(figure):
    """How many arrows go in each direction, how many borders are thick, and all words."""
    ax, = figure.axes
    arrows = Counter()
    for arrow in (text for text in ax.texts if isinstance(text, Annotation)):
        (x1, y1), (x2, y2) = arrow.xyann, arrow.xy
        arrows["→" if x2 - x1 > 1e-3 else "←" if x1 - x2 > 1e-3 else "↑" if y2 < y1 else "↓"] += 1
    words = sorted((round(y, 1), x, text.get_text()) for text in ax.texts if text.get_text()
                   for x, y in [text.get_position()])
    return (" ".join(f"{arrows[way]}{way}" for way in "→←↑↓" if arrows[way]),
            sum(patch.get_linewidth() == 2 for patch in ax.patches),
            " ".join(text for *_, text in words).replace("\n", " "))


PARTS = {
    "attention_beside_recurrence": (
        "5↓", 0, "c a b c 3 to compare", "f a b c d e f 6 to compare", "21 comparisons"),
    "autograd_function": (
        "2→ 3← 4↓", 1, "forward kernel y states", "dx, dΔ, dA, dB, dC, dD backward"),
    "backward_program": ("4→ 1↑", 2, "per chunk once saved state of the chunk dA_, dD_: running"),
    "block_family": ("4← 24↓", 0, "conv conv × SiLU SSM SiLU SSM SiLU × × ×"),
    "bracketings": ("4→ 4←", 2, "0.30000000000000004 0.5 0.6000000000000001 0.6"),
    "broadcast_beside_projection": ("12→", 0, "1 · s $x_t$ 1.2 · s 1 · s −0.7 · s",
                                    "1 · s 0.4 · s 1 · s −1.5 · s"),
    "carried_tiles": ("1→ 1↑ 2↓", 2,
                      "tile 1 tile 2 step 0 step 1 step 2 beyond a 0.5 0.25 0.75 1"),
    "chunk_recomputation": (
        "4→ 3←", 6, "chunk 2 8 9 2.", "chunk 1 4 5 6 7"),
    "chunk_program": ("1→ 2← 2↓", 4, "chunk 1 chunk 2 chunk 3 chunk 4", "4  $C h$, decayed"),
    "combined_steps": ("6→", 2, "h = 10 × 0.5   + 4 h = 9 × 0.5   + 1 h = 5.5",
                       "0.5 · 0.5 = 0.25        0.5 · 4 + 1 = 3"),
    "compensated_sums": ("1↑", 0, "plain sum 100 101", "Kahan's sum", "0 −0.4"),
    "continuous_loop": ("6→ 1← 1↑", 0, "channel 1 of 3", "h′ x(t) B + ∫ C y(t)", "4 × 1 1 × 4"),
    "duality_forms": ("8↓", 0, "8 steps, one after another 36 pairs, all at once"),
    "exchanged_layer_state": (
        "4→ 3↓", 1, "goes on with state of layer 0 state of layer 1 state of layer 2 z"),
    "factored_block": ("", 0, "0.3333 0.1111 0.1667 × ½ × 0.6667 1 = 0.6667 0.2222 0.3333"),
    "fetched_value": ("7→ 1↑ 8↓", 2, "token n D e H p A - e", "n nD De eH Hp pA A- -e",
                      "the token with e before it prediction: H"),
    "layer_rows": ("", 0, f"none {8 * 'Mamba '}four, four MLPs{4 * ' attention MLP'}"),
    "product_memory": ("", 0, "0.3333 0.6667 0 0.3333 state $h$ query read",
                       "4.667 0 1.556 0.3333 2.222 −1.333 −3.519"),
    "routed_experts": ("8→", 0, "weight 2 of 4 MLPs run", "0.30 expert 3 0.05 expert 4, idle"),
    "shared_states": ("2→ 2←", 0, "text aa ab ba bb", "state after it 00 01 10"),
    "mamba2_block": ("7→ 1← 1↑ 2↓", 0, "$z$: 1,536 $u$: 768",
                     "$x$: 1,536 $B$, $C$: 128 each", "$\\Delta$: 24, one per head"),
    "mask_blocks": ("", 2, "step 4: what the entering state adds", "⅛ ¼ ½ 1"),
    "masked_scores": ("", 0, "1 1 2 3 1 −4 −4", "× −3.667 = −26.33", "−3.333 −51.67"),
    "shared_decay": ("1→", 0, "$d$ = 3 $a_{31}$ $a_{32}$ $a_{33}$ $a_{34}$ $d$ = 3 α α α α",
                     "12 decays per step 1 decay per step"),
    "curriculum": ("", 0, "length, tokens 8 16 24 0 % 50 % 100 % of the training steps"),
    "exchanged_states": ("4→ 1↑ 1↓", 0, "* a b slow others c * → ? exchanged * d e slow others"),
    "rounded_sum": ("1→ 1←", 0, "+ 0.0625 halfway 0.5 0.75 1 spacing 0.25"),
    "training_loop": ("4→ 1↑", 0, "batch loss gradients clip: norm at most 1 AdamW",
                      "decay in_proj conv1d don't decay A_log D norm"),
    "dense_beside_diagonal": ("7→", 0, "$h_1$ $h_1'$ $g_1$ $g_1'$", "$h_2$ $h_2'$"),
    "forward_and_backward": ("4→ 3← 4↑ 4↓", 0, "× 0.333333 × 0.666667 × 1 backward,"),
    "gradient_flow": ("11←", 6, "2.33 0.67 × $f_0$", "gradient 9 0.86 3 × $f_7$ gradient 5"),
    "handed_state": ("4→ 3↑", 1, "0 scan of 37 steps h scan of 53 steps h"),
    "hbm_traffic": ("4↑ 4↓", 0, "x, Δ 25 MB Ā, B̄ x 403 MB Ā, B̄ x 403 MB h 201 MB h 201 MB y 13 MB "
                    "x, Δ 25 MB y 13 MB"),
    "held_input": ("", 0, "$\\Delta_t$ 1 1 1 1 state $h_t$ 0.00 0.17 0.33 0.50"),
    "lane_layouts": ("", 0, "channel 0 channel 1 4 components of each channel in a lane",
                     "channels, each with 16 components in one lane"),
    "lane_sums": ("4→ 4←", 0, "step 0 0 1 2 3 2 4 6", "step 1 4 5 6 7 10 12 22",
                  "step 2 8 9 10 11 18 20 38", "step 3 12 13 14 15 26 28 54"),
    "layer_of_channels": ("16→ 1↑", 8, "Linear 4 → 4, then"),
    "layer_stacks": ("12→ 8↑ 16↓", 0, "attention MLP attention MLP Mamba",
                     "Mamba block Mamba block Mamba block Mamba block"),
    "load_timelines": ("", 0, "in turn tile 1 tile 2 18 cycles ahead tile 1 tile 2 12 cycles"),
    "lost_update": ("3→ 3←", 0, "stores 13 13 adds 3 13 14 stores 14 17 adds 4"),
    "masked_load": ("4↓", 0, "offsets program 2 8 9 10 11",
                    "yes yes no no what tl.load gives 28 29 0.5 0.5"),
    "matrix_structures": ("", 0, "$P_V^*$ −1.7 −2.0 0 0", "−4.0 $\\lambda_3$"),
    "memory_hierarchy": ("2↑ 2↓", 0, "multiprocessor 2 multiprocessor 132 registers 256 KB",
                         "7 TB/s L2 cache: 60 MB, shared by all multiprocessors 4 TB/s HBM,"),
    "nonlinear_beside_linear": ("9→ 8↑", 0, "time 3 time 4 at once at once at once at once"),
    "operation_traffic": ("3↑ 3↓", 0, "64.2 40.4 10.6 63.1 33.3 4.1",
                          "201 bytes per step and channel 14.7 bytes"),
    "padded_and_packed": ("", 0, "attention_mask 0 0 1 1 1 tokens",
                          "attention_mask 1 1 1 1 1 packed", "seq_idx 0 0 0 1 1 1 1 1"),
    "pasts_of_one_state": ("4→", 4, "past 4 0 0 0 1 1"),
    "prefill_and_decode": ("4→ 10↑", 0, "x y z", "conv_state conv_state c d e d e x"),
    "program_sums": ("9→ 12↓", 0, "HBM: one dB and one dC of 4 components per step, shared by 9"),
    "program_tiles": ("", 4, "(0, 0) (0, 1) row 2 3 4 (1, 0) (1, 1)"),
    "program_tiles of one row": ("", 3, "7 8 9 program 0 program 1 program 2"),
    "program_tiles one by one": ("", 6, "channel 0 1 2 3 4 program 0 program 1 0 1 1 1 2"),
    "query_scores": ("2↑", 0, "12.3 7.2 query 1 1st 2nd ? answers 1st", "answers 2nd"),
    "reached_inputs": ("", 0, "past future 1 1 1 1 1", "1 1 input input orange: the"),
    "recomputed_states": ("", 24, "saved: 16 states, before each tile of 4 steps"),
    "reverse_programs": (
        "8←", 0, "channels 0–3 program 1 × $\\bar A_{1}$ × $\\bar A_{2}$", "masked channels 4–5"),
    "road": ("2→ 1↓", 0, "one two three 00 a 02 c 03 d 01 b"),
    "s4_beside_s6": ("8→ 4↑ 3↓", 2, r"$\exp(\Delta\,A)$ $\exp(\Delta_t\,A)$", r"$C$ $y_t$ $x_t$",
                     r"$\Delta_t\,B_t$ $h_t$ $C_t$"),
    "s4_block": ("16→ 1↑", 0, "input $x$ one SSM per channel output $y$"),
    "s4_kernel_steps": ("3→ 2←", 0, "1  spectrum", "4  low rank", "the kernel $K$ inverse FFT"),
    "scan_on_gpu": ("", 2, "→  program 0 channel 1 thread 0 thread 1", "channel 2 →  program 1"),
    "scan_program": ("2→ 2↑", 0, "load store", "load $B_t$ $C_t$"),
    "scanned_tile": ("1→", 0, "0 1 sum 0 1 step ↓ 2 3 step ↓ 2 4 4 5 6 9"),
    "step_gradients": ("1→", 0, "dh before A dA d_before", "x delta B dx d_delta"),
    "strides": ("2↓", 3, "x   strides: rows 3, columns 1 x.T   strides: rows 1, columns 3"),
    "scan_values": ("17→ 17↓", 15, "step 1 step 2"),
    "selective_layer": ("3→ 6↑ 2↓", 0, "5 channels 5 × 4 5 × 4 5 channels", "$B_t$ $C_t$", "$A$"),
    "sliding_kernel": ("4→", 0, "¼ · 0 + ½ · 0.3333 + 1 · 0.6667 0.8333 $y_2$"),
    "split_passes": ("1→ 2↓", 0, "4 programs, each from zero", "1 2 3 4", "split 1 split 2 split 3 "
                     "3 programs, each from its own state"),
    "ssm_projections": ("6→", 0, "dt_rank: 2 6 6", "d_state: 4 6 channels"),
    "ssm_shapes": ("", 0, "x Δ B C A d l l l l n d d n n l = 0 l = 1 l = 2 l = 3"),
    "threads_and_blocks": ("10↑ 10↓", 0, "block 2 channel 2 (a, b) state (a, b)"),
    "unrolled_recurrence": ("3→ 8↑", 1, "× ½ × ½ × ½ $x_0$ $x_1$"),
    "two_bases": ("4→ 1← 3↑", 0, "v = −9.95 $b_1$ + 10 $b_2$"),
    "weighted_curves": ("", 0, "−33.0 × + −66.0 × + −99.0 × …"),
    "work_and_depth": ("1↑", 0, "depth 7 work 7 depth 3 work 17 depth 5 work 11"),
    "wrapped_convolution": ("3↓", 0, "+ 1 + 1.25 + 1.5 not padded 1 1.5 2 ¾"),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_schematic_has_the_arrows_thick_borders_and_words_that_it_should(name):
    arrows, thick, words = parts(SCHEMATICS[name]())
    assert (arrows, thick) == PARTS[name][:2]
    for phrase in PARTS[name][2:]:
        assert f" {phrase} " in f" {words} "


def test_a_curriculum_keeps_all_lengths_up_to_the_longest_in_use():
    ax, = plots.curriculum([8, 16, 24], [1, 3]).axes
    drawn = Counter((round(patch.get_x(), 2), to_rgba(patch.get_facecolor())[:3])
                    for patch in ax.patches if patch.get_facecolor()[3] == 0.45)
    assert drawn == {(3.4, to_rgba(schematic.INPUT)[:3]): 1, (3.4, to_rgba("white")[:3]): 2,
                     (8.5, to_rgba(schematic.INPUT)[:3]): 3}


@pytest.mark.parametrize("count", [2, 3])
def test_only_the_gates_of_a_gru_depend_on_the_state(count):
    ax, = plots.gated_recurrences(count).axes
    from_state = [arrow.xy[0] for arrow in ax.texts if isinstance(arrow, Annotation)
                  and arrow.arrow_patch.get_edgecolor() == to_rgba(plots.COLOURS[1])]
    assert len(from_state) % count == 0 < len(from_state)
    assert max(from_state) < ax.get_xlim()[1] / 2       # the GRU is the left one of the two


def test_an_output_that_depends_on_the_future_has_another_colour():
    ax, = plots.reached_inputs({"": torch.tensor([[1.0, 1.0], [1.0, 0.0]])}).axes
    colours = [patch.get_facecolor()[:3] for patch in ax.patches[1::3]]
    past, future, same_past, none = colours
    assert past == same_past != future
    assert none == to_rgba("white")[:3]
