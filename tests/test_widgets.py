"""The explorers, without a browser: what their sliders do to their pictures and words."""

import base64
import cmath
import json
import math
import re
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from minimamba import checkpoint
from minimamba.course import plots, weights, widgets
from minimamba.course.inspect import watch
from minimamba.course.widgets import (
    DeltaExplorer,
    HippoExplorer,
    KernelExplorer,
    RecallExplorer,
    RooflineExplorer,
    ScanStepper,
    StabilityExplorer,
    StateExplorer,
    TokenExplorer,
    module,
)
from minimamba.course.widgets.browser_explorer import MIME
from minimamba.course.widgets.delta_explorer import INPUTS, STRETCHES, _shares
from minimamba.course.widgets.hippo_explorer import _recording, _states
from minimamba.course.widgets.state_explorer import _levels
from minimamba.s4 import hippo

FOLDER = Path(widgets.__file__).parent


@pytest.fixture(scope="module")
def explorer():
    return DeltaExplorer()


@pytest.mark.parametrize(("name", "value"), [("delta", 0.1), ("rate", 4.0), ("input", "EEG"),
                                             ("input", "step")])
def test_each_setting_changes_the_value_and_the_picture(explorer, name, value):
    before = explorer._repr_mimebundle_()[0]["image/png"]
    setattr(explorer, name, value)
    assert explorer.value[name] == value
    assert explorer._repr_mimebundle_()[0]["image/png"] != before


def test_only_the_product_of_step_and_rate_counts():
    assert DeltaExplorer(delta=0.1, rate=1.0).half_life() == pytest.approx(
        DeltaExplorer(delta=0.01, rate=10.0).half_life())


def test_the_half_life_halves_the_pole():
    explorer = DeltaExplorer(delta=0.02, rate=3.0)
    assert math.exp(-0.02 * 3.0) ** explorer.half_life() == pytest.approx(0.5)


def test_the_words_say_what_the_picture_shows():
    explorer = DeltaExplorer(delta=1.0, rate=1.0)
    assert explorer.caption.startswith("The pole is 0.3679;")
    assert "halves in 0.693 steps" in explorer.caption
    assert "makes up 63% of the state" in explorer.caption


def test_the_pole_is_drawn_where_it_is():
    plane = DeltaExplorer(delta=1.0, rate=1.0)._figure().axes[0]
    assert plane.lines[1].get_xdata() == pytest.approx([math.exp(-1.0)])


def test_a_page_without_a_kernel_gets_a_still_picture(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert Image.open(BytesIO(base64.b64decode(data["image/png"]))).size == (810, 414)
    assert "The pole is" in metadata["image/png"]["alt"]
    assert "application/vnd.jupyter.widget-view+json" in data


@pytest.mark.parametrize(("widget", "size"), [
    (DeltaExplorer(0.1), 80_000), (KernelExplorer(3, 0.5), 4_000), (RecallExplorer(), 9_000),
    (TokenExplorer("ä."), 400)])
def test_a_page_without_a_kernel_gets_all_that_the_drawing_needs(widget, size):
    data = json.loads(json.dumps(widget._repr_mimebundle_()[0][MIME]))
    assert data["module"] == widget.file
    assert set(data["state"]) == {*widget.settings, *widget.given}
    assert data["state"].items() >= widget.value.items()
    asked = re.findall(r'model\.get\("(\w+)"\)', (FOLDER / data["module"]).read_text("utf-8"))
    assert set(asked) <= set(data["state"])
    assert len(json.dumps(data)) < size                 # a notebook carries it


@pytest.mark.parametrize("kind", [DeltaExplorer, HippoExplorer, KernelExplorer, RecallExplorer,
                                  RooflineExplorer, ScanStepper, StabilityExplorer, StateExplorer,
                                  TokenExplorer])
def test_the_module_is_the_shared_file_and_the_widget_s_own(kind):
    shared, own = ((FOLDER / name).read_text("utf-8") for name in ("explorer.js", kind.file))
    assert module(kind.file) == shared + "\n" + own == kind()._esm
    assert "http" not in module(kind.file).replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("delta", [1e-4, 0.01, 10.0])
def test_the_shares_of_the_past_make_a_whole(delta):
    kernel = torch.exp(-delta * torch.arange(12000, dtype=torch.float64))
    shares = _shares(kernel)
    assert len(shares) == len(STRETCHES)
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) >= -1e-12
    assert shares[0] == pytest.approx((kernel[0] / kernel.sum()).item())


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_is_a_recording(name):
    recording = INPUTS[name]()
    assert recording.t.shape == recording.x.shape
    assert recording.unit


BAD = [("delta", 0.0), ("delta", 11), ("delta", "1"), ("delta", True), ("rate", -1.0),
       ("rate", math.nan), ("input", "noise"), ("input", None)]


@pytest.mark.parametrize(("name", "bad"), BAD)
def test_bad_input_is_refused_by_name_at_the_start_and_later(explorer, name, bad):
    before = explorer.value
    with pytest.raises(ValueError, match=rf"^{name}: expected .+, got"):
        DeltaExplorer(**{name: bad})
    with pytest.raises(ValueError, match=rf"^{name}: expected .+, got"):
        setattr(explorer, name, bad)
    assert explorer.value == before


@pytest.fixture(scope="module")
def hippo_explorer():
    return HippoExplorer()


@pytest.mark.parametrize(("name", "value"), [("size", 9), ("moment", 3.0), ("measure", "legt"),
                                             ("measure", "fout")])
def test_each_setting_of_the_hippo_explorer_changes_the_picture(hippo_explorer, name, value):
    picture, caption = hippo_explorer.picture, hippo_explorer.caption
    setattr(hippo_explorer, name, value)
    assert hippo_explorer.value[name] == value
    assert hippo_explorer.picture != picture
    assert hippo_explorer.caption != caption


def test_what_the_browser_sets_is_answered_with_a_picture_and_its_words():
    explorer, wanted = HippoExplorer(), HippoExplorer(size=9)
    explorer.set_state({"size": 9})
    assert explorer.value == wanted.value
    assert (explorer.picture, explorer.caption) == (wanted.picture, wanted.caption)


def told_error(**settings):
    words = HippoExplorer(**settings).caption
    return int(re.search(r"error (\d+)%", words).group(1))


@pytest.mark.parametrize("measure", ["legs", "legt", "fout"])
def test_more_numbers_know_more_of_the_past(measure):
    errors = [told_error(size=size, moment=8.0, measure=measure) for size in (5, 17, 65)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[-1] + 20


def test_the_words_of_the_hippo_explorer_say_what_the_picture_shows():
    assert "33 numbers for the last 6.00 s, 479 samples" in HippoExplorer().caption
    early = HippoExplorer(size=9, moment=0.5, measure="legt")
    assert "9 numbers for the last 0.50 s, 39 samples" in early.caption
    late = HippoExplorer(size=9, moment=10.0, measure="fout")
    assert "the last 2.00 s, 160 samples" in late.caption


def test_the_states_of_legs_are_nested():
    # The widget runs the largest one and cuts: that must be the state of the smaller size.
    recording = _recording()
    for N in (3, 17):
        cut = _states("legs", N)
        assert cut.shape == (800, N)
        assert (cut - hippo.project("legs", N, recording.x, recording.t)).abs().max() < 1e-9


def test_a_page_without_a_kernel_gets_a_still_picture_of_the_eeg():
    data, metadata = HippoExplorer()._repr_mimebundle_()
    assert Image.open(BytesIO(base64.b64decode(data["image/png"]))).size == (810, 432)
    assert "33 numbers" in metadata["image/png"]["alt"]
    assert data["text/plain"] == "HippoExplorer(size=33, moment=6, measure='legs')"


def refuses_later_too(explorer, name, bad):
    before = explorer.get_state()                            # what the browser has: all of it
    with pytest.raises(ValueError, match=rf"^{name}: expected .+, got"):
        setattr(explorer, name, bad)
    assert explorer.get_state() == before


@pytest.mark.parametrize("bad", [{"size": 4}, {"size": 67}, {"size": 9.0}, {"moment": 0.0},
                                 {"moment": 10.5}, {"measure": "lmu"}])
def test_the_hippo_explorer_refuses_by_name(hippo_explorer, bad):
    with pytest.raises(ValueError, match=rf"^{next(iter(bad))}: expected .+, got"):
        HippoExplorer(**bad)
    refuses_later_too(hippo_explorer, *next(iter(bad.items())))


@pytest.mark.parametrize("measure", ["legs", "legt", "fout"])
@pytest.mark.parametrize("moment", [1.0, 6.0])
def test_what_the_hippo_explorer_draws_is_what_the_state_knows(measure, moment, monkeypatch):
    drawn = []
    png = plots.HippoExplorerFigure.png
    monkeypatch.setattr(plots.HippoExplorerFigure, "png",
                        lambda self, *given: drawn.append(given) or png(self, *given))
    figure = HippoExplorer(size=9, moment=moment, measure=measure)._drawing
    words, middle, recalled, now, start, c = drawn[-1]
    t, signal, _ = _recording()
    k = round(80 * moment) - 1                               # t[k] = (k + 1) / 80
    window = None if measure == "legs" else 2.0
    assert now == pytest.approx(moment)
    assert start == pytest.approx(max(0.0, moment - (window or moment)))
    assert torch.allclose(c, hippo.project(measure, 9, signal, t, window)[k], atol=1e-9)
    samples = slice(max(0, round(80 * start) - 1), k)
    assert torch.allclose(middle, t[samples] + 1 / 160)
    age = (moment - middle) / (window or moment)
    assert torch.allclose(recalled, hippo.basis(measure, 9, age) @ c)
    truth = signal[samples]
    error = (recalled - truth).square().mean() / truth.var(correction=0)
    assert f"error {error.sqrt():.0%} of" in words
    assert figure.title.get_text() == words
    for line, wanted in ((figure.recalled, (middle, recalled)), (figure.coefficients,
                         (torch.arange(9), c)), (figure.now, ([now, now], [0, 1])),
                         (figure.window, ([start, start], [0, 1]))):
        for given, place in zip(line.get_data(), wanted, strict=True):
            assert [*given] == [*place]


def test_every_moment_of_the_slider_is_a_sample(monkeypatch):
    # Only the words count here: to draw 191 pictures would take seconds.
    monkeypatch.setattr(plots.HippoExplorerFigure, "png", lambda self, *given: b"")
    explorer = HippoExplorer(size=3)
    for steps in range(10, 201):
        moment = steps * 0.05
        explorer.moment = moment
        assert f"the last {moment:.2f} s, {4 * steps - 1} samples" in explorer.caption


def test_the_still_picture_is_a_compact_one():
    data, _ = HippoExplorer()._repr_mimebundle_()
    assert Image.open(BytesIO(base64.b64decode(data["image/png"]))).mode == "P"


def test_the_token_explorer_holds_what_came_last():
    explorer = TokenExplorer("..a...b.", letter=5.0, noise=0.001)
    assert explorer.kinds == [".", "a", "b"]
    states = explorer.states()
    assert states.shape == (8, 3)
    assert states[2, 1] > 0.99
    assert states[5, 1] > 0.98                          # held through three noises
    assert states[-1, 2] > 0.98
    assert explorer.caption == "After ..a...b. the state is made of: noise 0%, a 1%, b 99%."


def test_the_token_explorer_is_the_gated_recurrence():
    explorer = TokenExplorer("ab.ba", letter=0.7, noise=0.2)
    h, gates = torch.zeros(3, dtype=torch.float64), 1 - torch.exp(-explorer.delta())
    for token, gate, state in zip("ab.ba", gates, explorer.states(), strict=True):
        x = torch.tensor([float(token == kind) for kind in ".ab"], dtype=torch.float64)
        h = (1 - gate) * h + gate * x
        assert torch.allclose(state, h)


def test_a_step_set_by_hand_is_that_place_s_alone():
    explorer = TokenExplorer("..a...b.", letter=5.0, noise=0.001)
    before = explorer.delta()
    explorer.place, explorer.there = 7, 0.01                 # skip the b
    after = explorer.delta()
    assert after[6] == 0.01
    assert torch.equal(after[torch.arange(8) != 6], before[torch.arange(8) != 6])
    assert "a 98%, b 1%" in explorer.caption
    explorer.place = 0
    assert torch.equal(explorer.delta(), before)
    assert explorer.value == {"tokens": "..a...b.", "letter": 5.0, "noise": 0.001, "place": 0,
                              "there": 0.01}


def test_a_place_that_is_cut_off_is_the_last_one():
    explorer = TokenExplorer("ab..")
    explorer.place = 4
    explorer.tokens = "aß"
    assert explorer.place == 2
    explorer.set_state({"tokens": "abc", "place": 3})        # as it comes from the browser
    assert explorer.value["tokens"] == "abc"
    assert explorer.place == 3


@pytest.mark.parametrize("bad", [{"tokens": ""}, {"tokens": "a b"}, {"tokens": 25 * "a"},
                                 {"tokens": 3}, {"letter": 0}, {"noise": 11.0}, {"noise": "a"}])
def test_the_token_explorer_refuses_by_name(bad):
    with pytest.raises(ValueError, match=rf"^{next(iter(bad))}: expected .+, got"):
        TokenExplorer(**bad)


@pytest.mark.parametrize(("name", "bad"), [("tokens", "a1"), ("letter", 1e-4), ("there", None),
                                           ("place", 4), ("place", -1), ("place", 1.0)])
def test_the_token_explorer_refuses_later_too(name, bad):
    explorer = TokenExplorer("a.b")
    before = explorer.value
    with pytest.raises(ValueError, match=rf"^{name}: expected .+, got"):
        setattr(explorer, name, bad)
    assert explorer.value == before


def test_a_page_without_a_kernel_gets_a_still_picture_of_the_tokens():
    data, metadata = TokenExplorer("..a.")._repr_mimebundle_()
    assert Image.open(BytesIO(base64.b64decode(data["image/png"]))).size == (810, 432)
    assert "After ..a." in metadata["image/png"]["alt"]
    assert data["text/plain"] == "TokenExplorer('..a.', letter=3, noise=0.01)"


def test_what_the_token_explorer_draws_is_what_it_holds():
    explorer = TokenExplorer("a.b", letter=2.0, noise=0.5)
    step, gate, state, _ = explorer._figure().axes
    delta = explorer.delta()
    tops = [bar.get_y() + bar.get_height() for bar in step.patches]
    assert tops == pytest.approx(delta.tolist())
    heights = [bar.get_height() for bar in gate.patches]
    assert heights == pytest.approx((1 - torch.exp(-delta)).tolist())
    assert torch.equal(torch.from_numpy(state.images[0].get_array().data), explorer.states().T)
    assert [label.get_text() for label in state.get_yticklabels()] == ["noise", "a", "b"]


@pytest.mark.parametrize(("numbers", "pairs", "asked"), [(2, 64, 5), (8, 24, 1), (64, 3, 3)])
def test_the_recall_explorer_is_a_sum_of_products(numbers, pairs, asked):
    explorer = RecallExplorer(numbers, pairs, asked)
    keys, values, state, overlaps, scores, right = explorer.seen()
    assert torch.allclose(keys.norm(dim=1), torch.ones(pairs, dtype=torch.float64))
    assert torch.allclose(values.norm(dim=1), torch.ones(pairs, dtype=torch.float64))
    by_hand = sum(torch.outer(value, key) for key, value in zip(keys, values, strict=True))
    assert torch.allclose(state, by_hand)
    assert overlaps[asked - 1] == pytest.approx(1)          # nothing fades
    assert torch.allclose(values @ (by_hand @ keys[asked - 1]), scores[:pairs])
    read = values @ by_hand @ keys.T                        # (which value, for which key)
    assert (read.argmax(0) == torch.arange(pairs)).sum() >= right[pairs - 1]
    assert f"of all pairs {right[pairs - 1]} of {pairs} are answered right" in explorer.caption


def test_in_the_recall_explorer_pairs_interfere_and_numbers_keep_them_apart():
    right = [RecallExplorer(numbers).seen().right for numbers in (2, 4, 8, 16, 64)]
    last = [int(counts[-1]) for counts in right]
    assert last == sorted(last)
    assert last[0] < 8
    assert last[-1] == 64
    assert all(counts[1] == 2 for counts in right)


def test_the_words_of_the_recall_explorer_say_what_is_right_and_what_is_ahead():
    assert RecallExplorer(64, 1).caption == (
        "64 numbers a channel, 1 pair. Pair 1 is answered right, by 0.77; of all pairs 1 of 1 are "
        "answered right.")
    explorer = RecallExplorer(2, 64, 5)
    scores = explorer.seen().scores
    best = int(scores.argmax())
    assert explorer.caption.startswith("2 numbers a channel, 64 pairs, more than can be exact. ")
    assert (f"Pair 5 is answered wrong, as answer {best + 1} is ahead by "
            f"{scores[best] - scores[4]:.2f};") in explorer.caption


def test_the_recall_explorer_asks_for_a_pair_that_is_there():
    explorer = RecallExplorer(pairs=10, asked=10)
    explorer.pairs = 4
    assert explorer.value == {"numbers": 8, "pairs": 4, "asked": 4}
    with pytest.raises(ValueError, match=r"^asked: expected a whole number from 1 to 4, got 5"):
        explorer.asked = 5
    explorer.set_state({"pairs": 30, "asked": 30})           # as it comes from the browser
    assert explorer.asked == 30


@pytest.mark.parametrize("bad", [{"numbers": 1}, {"numbers": 65}, {"numbers": "8"}, {"pairs": 0},
                                 {"pairs": 65}, {"pairs": "8"}, {"asked": 0}, {"asked": 25},
                                 {"asked": True}])
def test_the_recall_explorer_refuses_by_name(bad):
    with pytest.raises(ValueError, match=rf"^{next(iter(bad))}: expected .+, got"):
        RecallExplorer(**bad)


def test_what_the_recall_explorer_draws_is_what_it_recalls():
    explorer = RecallExplorer(4, 10, 3)
    seen = explorer.seen()
    keys, answers, every = explorer._figure().axes
    assert [bar.get_height() for bar in keys.patches] == pytest.approx(seen.overlaps.tolist())
    assert [bar.get_height() for bar in answers.patches] == pytest.approx(seen.scores.tolist())
    assert answers.lines[0].get_xdata() == [3]
    assert answers.lines[1].get_ydata() == pytest.approx([max(
        score for i, score in enumerate(seen.scores.tolist()) if i != 2)])
    assert every.lines[1].get_ydata() == pytest.approx([10 * int(seen.right[9])])
    assert list(every.lines[2].get_xdata()) == [4, 4]


def test_the_scan_stepper_counts_what_has_been_done():
    stepper = ScanStepper("Blelloch", length=8)
    assert "Blelloch, level 5 of 5: 11 of 11 joins made, 8 of 8 states done" in stepper.caption
    stepper.level = 3
    assert "level 3 of 5: 7 of 11 joins made, 4 of 8 states done" in stepper.caption
    stepper.order = "Hillis-Steele"
    assert "Hillis-Steele, level 0 of 3: 0 of 17 joins made, 1 of 8 states" in stepper.caption
    stepper.level = 3
    assert "17 of 17 joins made, 8 of 8 states done" in stepper.caption
    stepper.length = 5
    assert "level 0 of 3: 0 of 8 joins made, 1 of 5 states done" in stepper.caption
    stepper.order = "one after the other"
    stepper.level = 2
    assert "level 2 of 4: 2 of 4 joins made, 3 of 5 states done" in stepper.caption
    assert stepper.value == {"order": "one after the other", "length": 5, "level": 2}
    with pytest.raises(ValueError, match=r"^level: expected a whole number from 0 to 4, got 5"):
        stepper.level = 5


@pytest.mark.parametrize("bad", [{"order": "Kogge"}, {"length": 1}, {"length": 17},
                                 {"length": 4.0}, {"level": 6}, {"level": -1}, {"level": True}])
def test_the_scan_stepper_refuses_by_name(bad):
    with pytest.raises(ValueError, match=rf"^{next(iter(bad))}: expected .+, got"):
        ScanStepper(**bad)


def test_a_page_without_a_kernel_gets_a_still_picture_of_the_scan():
    data, metadata = ScanStepper("Hillis-Steele", 4)._repr_mimebundle_()
    assert Image.open(BytesIO(base64.b64decode(data["image/png"]))).width == 810
    assert "5 of 5 joins" in metadata["image/png"]["alt"]
    assert data["text/plain"] == "ScanStepper('Hillis-Steele', length=4, level=2)"


def test_the_stability_explorer_says_who_keeps_the_promise():
    explorer = StabilityExplorer(-0.5, 1.5)
    assert explorer.caption == (
        "Δλ = -0.50 + 1.50i, where the true mode fades. |Ā| by each rule: Euler 1.58, grows; "
        "backward Euler 0.471, fades; bilinear 0.728, fades; zero-order hold 0.607, fades.")
    explorer.real, explorer.imaginary = 1.5, -2
    assert "the true mode grows" in explorer.caption
    assert "backward Euler 0.485, fades" in explorer.caption
    explorer.real, explorer.imaginary = 0, 0
    assert explorer.caption.count("stays") == 5
    explorer.real = 1                                    # where backward Euler divides by 0
    assert "backward Euler 1e+09, grows" in explorer.caption
    assert explorer.value == {"real": 1, "imaginary": 0}


SETTINGS = [(0, 0.85, 40, "EEG"), (31, 1, 0, "step"), (9, 0.5, 180, "impulse"), (20, 0, 90, "EEG")]


@pytest.mark.parametrize(("place", "decay", "turn", "input"), SETTINGS)
def test_the_kernel_explorer_s_two_ways_are_a_loop_and_a_sum(place, decay, turn, input):
    explorer = KernelExplorer(place, decay, turn, input)
    x, kernel, products, output, state = explorer.seen()
    pole, h = cmath.rect(decay, math.radians(turn)), 0
    for s, x_s in enumerate(x[:place + 1].tolist()):
        h = pole * h + x_s
        assert kernel[s].item() == pytest.approx((pole**s).real, abs=1e-12)
        assert products[s].item() == pytest.approx((pole**(place - s)).real * x_s, abs=1e-12)
        assert state[s].item() == pytest.approx(h, abs=1e-12)
    assert len(products) == place + 1
    assert output.tolist() == pytest.approx(state.real.tolist(), abs=1e-12)
    assert products.sum().item() == pytest.approx(h.real, abs=1e-12)


def test_the_words_of_the_kernel_explorer_say_both_numbers():
    explorer = KernelExplorer(place=9, decay=0.5, turn=0, input="impulse")
    assert explorer.caption == (                                    # 0.5⁵ = 0.03125
        "Step 9. Convolution: 10 products add up to 0.031. Recurrence: the state is "
        "0.031 + 0.000i, and its real part 0.031.")
    explorer.place, explorer.turn = 6, 60                           # 0.5² at 120°
    assert "to −0.125. Recurrence: the state is −0.125 + 0.217i," in explorer.caption
    explorer.turn, explorer.place = 90, 5                           # 0.5 at 90°: no −0.000
    assert "to 0.000. Recurrence: the state is 0.000 + 0.500i," in explorer.caption
    explorer.input, explorer.place = "EEG", 0
    assert "Convolution: 1 product comes to −0.330." in explorer.caption
    assert explorer.value == {"place": 0, "decay": 0.5, "turn": 90, "input": "EEG"}


def test_what_the_kernel_explorer_s_still_shows_is_what_it_computes():
    explorer = KernelExplorer(place=12)
    seen = explorer.seen()
    *panels, plane = explorer._figure().axes
    drawn = [[bar.get_height() for bar in panel.containers[0]] for panel in panels]
    wanted = (seen.x, seen.kernel[:13].flip(0), seen.products, seen.output)
    for heights, values in zip(drawn, wanted, strict=True):
        assert heights == pytest.approx(values.tolist())
    assert [bar.get_alpha() for bar in panels[0].containers[0]] == 13 * [None] + 19 * [0.3]
    now = plane.lines[-1]
    assert complex(*now.get_xdata(), *now.get_ydata()) == pytest.approx(seen.state[12].item())


def test_the_roofline_explorer_counts_as_chapter_07_does():
    explorer = RooflineExplorer()
    assert 950 < explorer.floors().bytes < 1050
    assert explorer.caption.endswith("It waits for memory.")
    assert explorer.floors().rate < explorer.floors(0).rate / 50
    explorer.passes, explorer.dtype = 0, "bfloat16"
    assert explorer.floors().bytes == 8
    assert explorer.caption.endswith("It waits for exponentials.")
    assert explorer.value == {"passes": 0, "d_state": 16, "dtype": "bfloat16"}


@pytest.mark.parametrize(("kind", "bad"), [
    (KernelExplorer, {"place": 32}), (KernelExplorer, {"place": 3.0}),
    (KernelExplorer, {"decay": 1.1}), (KernelExplorer, {"turn": -1}),
    (KernelExplorer, {"turn": math.nan}), (KernelExplorer, {"input": "neuron"}),
    (StabilityExplorer, {"real": 2.5}), (StabilityExplorer, {"imaginary": None}),
    (RooflineExplorer, {"passes": 17}), (RooflineExplorer, {"passes": 1.0}),
    (RooflineExplorer, {"d_state": 0}), (RooflineExplorer, {"dtype": "int8"})])
def test_these_explorers_refuse_by_name_at_the_start_and_later(kind, bad):
    (name, value), = bad.items()
    with pytest.raises(ValueError, match=rf"^{name}: expected .+, got"):
        kind(**bad)
    explorer = kind()
    with pytest.raises(ValueError, match=rf"^{name}: expected .+, got"):
        setattr(explorer, name, value)
    assert explorer.value == kind().value


@pytest.mark.parametrize(("kind", "text", "size"), [
    (KernelExplorer, "KernelExplorer(place=25, decay=0.9, turn=30, input='EEG')", (810, 450)),
    (StabilityExplorer, "StabilityExplorer(real=-0.5, imaginary=1.5)", (800, 440)),
    (RooflineExplorer, "RooflineExplorer(passes=15, d_state=16, dtype='float32')", (700, 340)),
    (RecallExplorer, "RecallExplorer(numbers=8, pairs=24, asked=1)", (810, 432))])
def test_a_page_without_a_kernel_gets_a_still_picture_of_these_too(kind, text, size):
    data, metadata = kind()._repr_mimebundle_()
    assert Image.open(BytesIO(base64.b64decode(data["image/png"]))).size == size
    assert metadata["image/png"]["alt"] == kind().caption
    assert data["text/plain"] == text


LINE = "    return x  # yes\n"


@pytest.fixture(scope="module")
def code_model():
    return checkpoint.load(weights.CODE)


def test_what_the_state_explorer_draws_is_what_the_model_does(code_model):
    explorer = StateExplorer(LINE, layer=1, channel=7)
    seen = watch(code_model, torch.tensor(list(LINE.encode())))[1]
    axes = explorer._figure().axes
    steps, norms, decays, state = (torch.from_numpy(ax.images[0].get_array().data)
                                   for ax in axes)
    assert torch.equal(steps, seen.delta.T)
    assert torch.allclose(norms, seen.norm.T / seen.norm.T.amax(1, keepdim=True))
    assert torch.equal(decays, seen.decay[:, 7].T)
    assert torch.allclose(state, seen.h[:, 7].T / seen.h[:, 7].abs().max())
    assert [ax.lines[0].get_ydata() for ax in axes[:2]] == [[7, 7], [7, 7]]
    at = int(seen.delta[:, 7].argmax())
    assert f"its longest step is at byte {at}, {LINE[at]!r}" in explorer.caption


@pytest.mark.parametrize(("name", "value"), [("layer", 1), ("channel", 99),
                                             ("text", "def f(x):\n    return x\n")])
def test_each_setting_of_the_state_explorer_changes_the_picture(name, value):
    explorer = StateExplorer(LINE)
    picture, caption = explorer._repr_mimebundle_()[0]["image/png"], explorer.caption
    setattr(explorer, name, value)
    assert explorer.value[name] == value
    assert explorer.maps[name] == value
    assert explorer.caption != caption
    assert explorer._repr_mimebundle_()[0]["image/png"] != picture


SCALES = {"delta": (1e-4, 1), "norm": (0, 1), "decay": (0, 1), "h": (-1, 1)}


def test_the_browser_gets_the_maps_in_255_levels(code_model):
    explorer = StateExplorer(LINE)
    explorer.set_state({"text": LINE[:9], "layer": 1, "channel": 7})
    whole = watch(code_model, torch.tensor(list(LINE[:9].encode())))[1].delta.T
    for name, values in explorer.seen()._asdict().items():
        low, high = SCALES[name]
        levels = torch.frombuffer(bytearray(explorer.maps[name]), dtype=torch.uint8)
        share = levels.view(values.shape) / 254
        if name == "delta":
            assert torch.equal(values, whole)
            low, high, values = math.log10(low), math.log10(high), values.log10()
        read = low + share * (high - low)
        assert (read - values.clamp(low, high)).abs().max() < 0.501 * (high - low) / 254
    assert explorer.maps.items() >= explorer.value.items()
    wanted = StateExplorer(LINE[:9], 1, 7)
    assert (explorer.maps, explorer.caption) == (wanted.maps, wanted.caption)


def test_a_level_holds_what_is_beyond_the_scale_and_what_is_no_number():
    values = torch.tensor([-math.inf, -2, -1, 0, 0.25, 1, 7, math.inf, math.nan])
    assert [*_levels(values, -1, 1)] == [0, 0, 0, 127, 159, 254, 254, 254, 255]


def test_a_new_text_needs_no_figure(monkeypatch):
    explorer = StateExplorer(LINE)
    monkeypatch.setattr(plots, "watched", None)
    explorer.text, explorer.layer, explorer.channel = "x = 1", 1, 9
    assert explorer.maps["text"] == "x = 1"


def test_python_answers_in_one_thread_and_gives_the_others_back(monkeypatch):
    explorer, before, used = StateExplorer(LINE), torch.get_num_threads(), []
    monkeypatch.setattr(StateExplorer, "_shown", lambda self: used.append(
        torch.get_num_threads()) or {})
    torch.set_num_threads(2)
    try:
        explorer.channel = 1
        assert used == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("bad", [{"text": ""}, {"text": "é"}, {"text": 81 * "a"}, {"text": 3},
                                 {"layer": 2}, {"layer": -1}, {"channel": 256}, {"channel": 1.0},
                                 {"channel": True}, {"model": "mine"}])
def test_the_state_explorer_refuses_by_name(bad):
    with pytest.raises(ValueError, match=rf"^{next(iter(bad))}: expected .+, got"):
        StateExplorer(**bad)


@pytest.mark.parametrize(("name", "bad"), [("text", ""), ("text", "a\tb"), ("layer", 2),
                                           ("channel", -1), ("channel", None)])
def test_the_state_explorer_refuses_later_too(name, bad):
    refuses_later_too(StateExplorer(LINE), name, bad)


def test_a_page_without_a_kernel_gets_a_still_picture_of_the_states():
    data, metadata = StateExplorer(LINE)._repr_mimebundle_()
    assert Image.open(BytesIO(base64.b64decode(data["image/png"]))).size == (810, 648)
    assert "Layer 0, channel 0" in metadata["image/png"]["alt"]
    assert data["text/plain"] == f"StateExplorer({LINE!r}, layer=0, channel=0)"
