"""The explorers without a browser: what they compute, their pictures, captions and errors."""

import base64
import cmath
import json
import math
import pickle
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from PIL import Image

from minimamba.config import MambaConfig
from minimamba.course import plots, weights, widgets
from minimamba.course.inspect import trace_states
from minimamba.course.widgets import (
    DeltaExplorer,
    DualityExplorer,
    HippoExplorer,
    KernelExplorer,
    RecallExplorer,
    RooflineExplorer,
    ScanStepper,
    ShapeExplorer,
    StabilityExplorer,
    StateExplorer,
    TokenExplorer,
    javascript,
)
from minimamba.course.widgets.browser_explorer import MIME_TYPE, BrowserExplorer
from minimamba.course.widgets.delta_explorer import INPUTS, LAG_RANGES, _fractions
from minimamba.course.widgets.hippo_explorer import _recording, _states
from minimamba.course.widgets.state_explorer import StateMaps, _levels
from minimamba.lm import MambaLM
from minimamba.s4 import hippo
from minimamba.scan import selective_scan

JS = Path(widgets.__file__).parent / "js"
EXPLORERS = [getattr(widgets, name) for name in widgets.__all__]
LINE = "    return x  # yes\n"


@pytest.fixture(scope="module")
def explorers():
    """An explorer of each class with its default settings; no test changes these."""
    return {kind: kind() for kind in EXPLORERS}


@pytest.fixture(scope="module")
def code_model():
    return MambaLM.from_pretrained(weights.CODE)


# Every explorer.

@pytest.fixture
def undrawn(monkeypatch):
    """Figures are replaced by the arguments of the function that would draw them."""
    for name in ("associative_recall", "convolution", "layer_states", "reconstructed_past",
                 "roofline", "scalar_ssm", "scan_order", "ssm_shapes", "stability", "token_states"):
        monkeypatch.setattr(plots, name, lambda *arguments, **options: (arguments, options))


@pytest.mark.parametrize(("explorer", "settings"), [
    (DeltaExplorer, {"delta": 0.1, "decay_rate": 4.0, "input": "EEG"}),
    (DualityExplorer, {"decay": 0.9, "chunk_size": 5, "step": 3}),
    (HippoExplorer, {"d_state": 9, "time": 3.0, "measure": "legt"}),
    (KernelExplorer, {"step": 9, "decay": 0.5, "angle": 90, "input": "step"}),
    (RecallExplorer, {"d_state": 4, "pairs": 9, "query": 3}),
    (RooflineExplorer, {"passes": 1, "d_state": 64, "dtype": "bfloat16"}),
    (ScanStepper, {"order": "sequential", "length": 5, "level": 2}),
    (ShapeExplorer, {"batch": 1, "length": 6, "d_inner": 5, "d_state": 4}),
    (StabilityExplorer, {"real": 1.5, "imaginary": -2.0}),
    (StateExplorer, {"layer": 1, "channel": 99, "text": "def f(x):\n    return x\n"}),
    (TokenExplorer, {"tokens": "a.b", "letter_delta": 2.0, "noise_delta": 0.5, "position": 2,
                     "position_delta": 0.1})])
def test_each_setting_changes_the_value_and_the_picture(undrawn, explorer, settings):
    explorer = explorer()
    assert list(explorer.value) == list(explorer.settings)
    assert set(settings) == set(explorer.settings)
    for name, setting in settings.items():
        before = pickle.dumps(explorer._figure())
        setattr(explorer, name, setting)
        assert explorer.value[name] == setting
        assert pickle.dumps(explorer._figure()) != before, name


@pytest.mark.parametrize(("explorer", "bad"), [
    (DeltaExplorer, {"delta": [0.0, 11, "1", True], "decay_rate": [-1.0, math.nan],
                     "input": ["noise", None]}),
    (DualityExplorer, {"decay": [0.4, 1.01, math.nan], "chunk_size": [0, 17, 4.0],
                       "step": [-1, 5, True]}),
    (HippoExplorer, {"d_state": [4, 67, 9.0], "time": [0.0, 10.5], "measure": ["lmu"]}),
    (KernelExplorer, {"step": [32, 3.0], "decay": [1.1], "angle": [-1, math.nan],
                      "input": ["neuron"]}),
    (RecallExplorer, {"d_state": [1, 65, "8"], "pairs": [0, 65, "8"], "query": [0, 25, True]}),
    (RooflineExplorer, {"passes": [17, 1.0], "d_state": [0], "dtype": ["int8"]}),
    (ScanStepper, {"order": ["Kogge"], "length": [1, 17, 4.0], "level": [6, -1, True]}),
    (ShapeExplorer, {"batch": [0, 4], "length": [7], "d_inner": [6, 1.0], "d_state": [5, True]}),
    (StabilityExplorer, {"real": [2.5], "imaginary": [None]}),
    (StateExplorer, {"text": ["", "é", "a\tb", 81 * "a", 3], "layer": [2, -1],
                     "channel": [256, 1.0, True, None]}),
    (TokenExplorer, {"tokens": ["", "a b", "a1", 25 * "a", 3], "letter_delta": [0, 1e-4],
                     "noise_delta": [11.0, "a"]})])
def test_a_bad_setting_is_refused_by_name_at_construction_and_later(explorers, explorer, bad):
    existing = explorers[explorer]
    before = existing.get_state()
    for name, values in bad.items():
        for value in values:
            with pytest.raises(ValueError, match=rf"^{name}: expected .+, got"):
                explorer(**{name: value})
            with pytest.raises(ValueError, match=rf"^{name}: expected .+, got"):
                setattr(existing, name, value)
    assert existing.get_state() == before


BAD = [None, True, False, math.nan, math.inf, -math.inf, -10**9, 10**9, 10**400, 1e300, "\t", "𝔸1",
       "", 10**5 * "a", [], [1], {}, b"1", 0.5j]
SYNCED = [(kind, name) for kind in EXPLORERS
          for name in sorted({*kind.settings, *(name for name, trait in kind.class_traits(
              sync=True).items() if trait.this_class.__module__.startswith("minimamba"))})]


@pytest.mark.parametrize(("explorer", "name"), SYNCED,
                         ids=[f"{kind.__name__}-{name}" for kind, name in SYNCED])
def test_a_bad_value_from_the_browser_leaves_all_as_it_was_but_for_a_message(
        explorers, explorer, name, monkeypatch):
    existing = explorers[explorer]
    others = {other: value for other, value in existing.value.items() if other != name}
    before, sent = existing.get_state(), []
    for bad in BAD:
        monkeypatch.setattr(existing, "send_state", lambda key: sent.append(key))
        existing.set_state({**others, name: bad})
        monkeypatch.undo()
        message = existing.message
        assert re.match(rf"({name}|setting): expected .+", message), bad
        assert len(message) <= 200
        assert existing.settings in sent                    # the browser's controls go back
        sent.clear()
        assert existing.get_state() == {**before, "message": message}
        assert type(getattr(existing, name)) is type(before[name])
    existing.set_state(existing.value)
    assert existing.message == ""
    assert existing.get_state() == before


@pytest.mark.parametrize("message", [None, ["delta"], "delta", 3], ids=repr)
def test_a_message_that_holds_no_settings_is_refused(explorers, message):
    explorer = explorers[DeltaExplorer]
    before = explorer.get_state()
    explorer.set_state(message)
    assert explorer.message == f"settings: expected a dict, got {type(message).__name__}"
    explorer.set_state({})
    assert explorer.get_state() == before


@pytest.mark.parametrize("explorer", EXPLORERS)
@pytest.mark.parametrize("name", ["size", "_esm", "layout", "caption", "no_such_trait"])
def test_the_browser_sets_nothing_but_settings(explorers, explorer, name):
    before = explorers[explorer].get_state()
    explorers[explorer].set_state({name: 10**9})
    assert explorers[explorer].message.endswith(f"got {name!r}")
    explorers[explorer].set_state({})
    assert explorers[explorer].get_state() == before


def test_settings_that_are_refused_together_all_stay():
    explorer = RecallExplorer(pairs=10, query=10)
    explorer.set_state({"d_state": 4, "pairs": 5, "query": 6})
    assert explorer.message == "query: expected a whole number from 1 to 5, got 6"
    assert explorer.value == {"d_state": 8, "pairs": 10, "query": 10}
    with pytest.raises(ValueError, match=r"^query: "), explorer.hold_trait_notifications():
        explorer.pairs, explorer.query = 5, 6
    assert explorer.value == {"d_state": 8, "pairs": 10, "query": 10}


@pytest.mark.parametrize(("explorer", "text", "size"), [
    (DeltaExplorer, "DeltaExplorer(delta=0.01, decay_rate=1, input='neuron')", (810, 441)),
    (DualityExplorer, "DualityExplorer(decay=0.8, chunk_size=4, step=1)", (700, 500)),
    (HippoExplorer, "HippoExplorer(d_state=33, time=6, measure='legs')", (810, 459)),
    (KernelExplorer, "KernelExplorer(step=25, decay=0.9, angle=30, input='EEG')", (810, 477)),
    (RecallExplorer, "RecallExplorer(d_state=8, pairs=24, query=1)", (810, 459)),
    (RooflineExplorer, "RooflineExplorer(passes=15, d_state=16, dtype='float32')", (700, 370)),
    (ScanStepper, "ScanStepper('Blelloch', length=8, level=5)", (810, 442)),
    (ShapeExplorer, "ShapeExplorer(batch=2, length=4, d_inner=3, d_state=2)", (700, 506)),
    (StabilityExplorer, "StabilityExplorer(real=-0.5, imaginary=1.5)", (800, 470)),
    (StateExplorer, r"StateExplorer('    for name in names:  # one by one\n', layer=0, channel=0)",
     (810, 675)),
    (TokenExplorer, "TokenExplorer('..a...b..c....', letter_delta=3, noise_delta=0.01)",
     (810, 459))])
def test_a_page_without_a_kernel_gets_a_still_picture_and_text(explorers, explorer, text, size):
    data, metadata = explorers[explorer]._repr_mimebundle_()
    picture = Image.open(BytesIO(base64.b64decode(data["image/png"])))
    assert picture.size == size
    assert picture.mode == "P"                              # reduced colours: a small file
    assert metadata["image/png"]["alt"] == explorers[explorer].caption
    assert data["text/plain"] == text
    assert "application/vnd.jupyter.widget-view+json" in data
    assert (MIME_TYPE in data) == isinstance(explorers[explorer], BrowserExplorer)


@pytest.mark.parametrize(("explorer", "size"), [
    (DeltaExplorer(0.1), 80_000), (DualityExplorer(0.5), 200),
    (HippoExplorer(), 5_000), (KernelExplorer(3, 0.5), 4_000),
    (RecallExplorer(), 9_000), (RooflineExplorer(), 400), (ScanStepper(), 200),
    (ShapeExplorer(), 200), (StabilityExplorer(), 200), (TokenExplorer("ä."), 400)],
    ids=lambda it: it if isinstance(it, int) else type(it).__name__)
def test_a_page_without_a_kernel_gets_all_that_the_drawing_needs(explorer, size, monkeypatch):
    monkeypatch.setattr(type(explorer), "_still", lambda self: base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5C"
        "YII="))
    data = json.loads(json.dumps(explorer._repr_mimebundle_()[0][MIME_TYPE]))
    assert data["module"] == explorer.module
    assert set(data["state"]) == {*explorer.settings, *explorer.data}
    assert data["state"].items() >= explorer.value.items()
    read = re.findall(r'model\.get\("(\w+)"\)', (JS / explorer.module).read_text("utf-8"))
    assert read
    assert set(read) <= set(data["state"])
    assert len(json.dumps(data)) < size                     # it is stored in the notebook


# JavaScript modules.

@pytest.mark.parametrize("explorer", EXPLORERS)
def test_a_widget_is_its_module_bundled_and_needs_no_network(explorer):
    text = explorer._esm
    assert text == javascript.bundle(explorer.module)
    assert (JS / explorer.module).read_text("utf-8").split("export default")[1] in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"^import\b", text, re.MULTILINE)


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Write modules, by name, into a folder that stands for js/."""
    monkeypatch.setattr(javascript, "FOLDER", tmp_path)

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.js").write_text(text)
    return write


def test_a_bundle_has_each_import_once_before_the_modules_that_use_it(modules):
    modules(main='import { b } from "./b.js";\nimport {\n  a as first,\n} from "./a-1.js";\n'
                 "export const x = first + b;\nexport default { x };\n",
            b='import { a } from "./a-1.js";\nexport function b() {}\nconst own = a;\n')
    (javascript.FOLDER / "a-1.js").write_text("export const a = 1;\nconst own = 2;\n")
    assert javascript.bundle("main.js") == (
        "const $$_a_1 = (() => {\nconst a = 1;\nconst own = 2;\nreturn { a };\n})();\n"
        "const $$_b = (() => {\nconst { a } = $$_a_1;\nfunction b() {}\nconst own = a;\n"
        "return { b };\n})();\n"
        "const { b } = $$_b;\nconst {\n  a: first,\n} = $$_a_1;\n"
        "export const x = first + b;\nexport default { x };\n")


@pytest.mark.parametrize("statement", [
    'import a from "./a.js";', 'import * as a from "./a.js";', 'import "./a.js";',
    'import { a } from "three";', "export { a };", 'export * from "./a.js";', "export class A {}"])
def test_a_form_of_import_or_export_that_cannot_be_bundled_is_refused(modules, statement):
    modules(main=f"{statement}\n")
    with pytest.raises(ValueError, match=r"^js/main\.js: expected an import .+, got (im|ex)port"):
        javascript.bundle("main.js")


def test_only_the_widget_s_own_module_may_have_a_default_export(modules):
    modules(main='import { a } from "./a.js";\n', a="export default 1;\n")
    with pytest.raises(ValueError, match=r"^js/a\.js: expected .+, got export default"):
        javascript.bundle("main.js")


def test_modules_that_import_each_other_are_refused(modules):
    modules(a='import { b } from "./b.js";\n', b='import { a } from "./a.js";\n')
    with pytest.raises(ValueError, match=r"without a circle, got a\.js → b\.js → a\.js"):
        javascript.bundle("a.js")


@pytest.mark.parametrize("name", ["../explorer.py", "/etc/passwd", "js/axes.js", "", ".", None,
                                  "nosuch.js", "axes.js/../axes.js"])
def test_a_bundle_is_made_of_files_in_js_only(name):
    with pytest.raises(ValueError, match=r"^name: expected one of the files in js/ .+, got"):
        javascript.bundle(name)


# DeltaExplorer.

def test_the_half_life_depends_on_delta_times_decay_rate_and_halves_the_response():
    explorer = DeltaExplorer(delta=0.02, decay_rate=3.0)
    assert math.exp(-0.02 * 3.0) ** explorer.half_life() == pytest.approx(0.5)
    assert explorer.half_life() == pytest.approx(DeltaExplorer(0.2, 0.3).half_life())


def test_the_delta_explorer_shows_its_pole_in_picture_and_caption():
    explorer = DeltaExplorer(delta=1.0, decay_rate=1.0)
    assert explorer.caption == ("The pole Ā is 0.3679. The impulse response halves every 0.693 "
                                "steps, and the current input has a weight of 63% in the state.")
    plane = explorer._figure().axes[0]
    assert plane.lines[1].get_xdata() == pytest.approx([math.exp(-1.0)])


@pytest.mark.parametrize("delta", [1e-4, 0.01, 10.0])
def test_the_fractions_of_the_past_sum_to_one(delta):
    kernel = torch.exp(-delta * torch.arange(12000, dtype=torch.float64))
    fractions = _fractions(kernel)
    assert len(fractions) == len(LAG_RANGES)
    assert sum(fractions) == pytest.approx(1.0)
    assert min(fractions) >= -1e-12
    assert fractions[0] == pytest.approx((kernel[0] / kernel.sum()).item())


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_of_the_delta_explorer_is_a_recording(name):
    recording = INPUTS[name]()
    assert recording.t.shape == recording.x.shape
    assert recording.unit


# HippoExplorer.

@pytest.mark.parametrize("measure", ["legs", "legt", "fout"])
def test_a_larger_state_dimension_reconstructs_more_of_the_past(measure):
    captions = [HippoExplorer(d_state, 8.0, measure).caption for d_state in (5, 17, 65)]
    errors = [int(re.search(r"RMSE (\d+)%", caption).group(1)) for caption in captions]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[-1] + 20


def test_the_caption_of_the_hippo_explorer_says_what_the_window_covers():
    assert "N = 33, the last 6.00 s (479 samples): normalized RMSE" in HippoExplorer().caption
    early = HippoExplorer(d_state=9, time=0.5, measure="legt")
    assert "N = 9, the last 0.50 s (39 samples)" in early.caption
    late = HippoExplorer(d_state=9, time=10.0, measure="fout")
    assert "the last 2.00 s (160 samples)" in late.caption


def test_the_first_components_of_a_legs_state_are_those_of_a_smaller_state():
    recording = _recording()
    for N in (3, 17):
        truncated = _states("legs", N)
        assert truncated.shape == (800, N)
        assert (truncated - hippo.project("legs", N, recording.x, recording.t)).abs().max() < 1e-9


@pytest.mark.parametrize("measure", ["legs", "legt", "fout"])
@pytest.mark.parametrize("time", [1.0, 6.0])
def test_the_hippo_explorer_draws_the_reconstruction_from_its_state(measure, time):
    explorer = HippoExplorer(9, time, measure)
    (start, now), middle, reconstruction, c, found = explorer.compute()
    t, signal, _ = _recording()
    k = round(80 * time) - 1                                # t[k] = (k + 1) / 80
    window = None if measure == "legs" else 2.0
    assert now == pytest.approx(time)
    assert start == pytest.approx(max(0.0, time - (window or time)))
    assert torch.allclose(c, hippo.project(measure, 9, signal, t, window)[k], atol=1e-9)
    samples = slice(max(0, round(80 * start) - 1), k)
    assert torch.allclose(middle, t[samples] + 1 / 160)
    age = (time - middle) / (window or time)
    assert torch.allclose(reconstruction, hippo.basis(measure, 9, age) @ c)
    expected = signal[samples]
    error = (reconstruction - expected).square().mean() / expected.var(correction=0)
    assert found == pytest.approx(error.sqrt().item())
    past, state = explorer._figure().axes
    assert past.texts[0].get_text().endswith(f"RMSE {found:.0%}")
    _, drawn, at_now, at_start = past.lines
    for line, points in ((drawn, (middle, reconstruction)), (at_now, ([now, now], [0, 1])),
                         (at_start, ([start, start], [0, 1])),
                         (state.lines[1], (torch.arange(9), c))):
        for coordinates, values in zip(line.get_data(), points, strict=True):
            assert [*coordinates] == [*values]


def test_every_time_on_the_slider_is_a_sample():
    explorer = HippoExplorer(d_state=3)
    for steps in range(10, 201):
        explorer.time = steps * 0.05
        assert f"the last {steps * 0.05:.2f} s ({4 * steps - 1} samples)" in explorer.caption


# TokenExplorer.

def test_the_state_consists_of_the_last_letter_through_noise():
    explorer = TokenExplorer("..a...b.", letter_delta=5.0, noise_delta=0.001)
    assert explorer.distinct_tokens == [".", "a", "b"]
    states = explorer.states()
    assert states.shape == (8, 3)
    assert states[2, 1] > 0.99
    assert states[5, 1] > 0.98                              # held through three noise tokens
    assert states[-1, 2] > 0.98
    assert explorer.caption == "After ..a...b. the state consists of: noise 0%, a 1%, b 99%."


def test_the_token_explorer_is_a_gated_recurrence():
    explorer = TokenExplorer("ab.ba", letter_delta=0.7, noise_delta=0.2)
    h = torch.zeros(3, dtype=torch.float64)
    gates = 1 - torch.exp(-explorer.delta())
    for token, gate, state in zip("ab.ba", gates, explorer.states(), strict=True):
        x = torch.tensor([float(token == one) for one in ".ab"], dtype=torch.float64)
        h = (1 - gate) * h + gate * x
        assert torch.allclose(state, h)


def test_delta_is_overridden_at_one_position_only():
    explorer = TokenExplorer("..a...b.", letter_delta=5.0, noise_delta=0.001)
    before = explorer.delta()
    explorer.position = 7                                   # skip the b
    explorer.position_delta = 0.01
    after = explorer.delta()
    assert after[6] == 0.01
    assert torch.equal(after[torch.arange(8) != 6], before[torch.arange(8) != 6])
    assert "a 98%, b 1%" in explorer.caption
    with pytest.raises(ValueError, match=r"^position_delta: expected .+, got None"):
        explorer.position_delta = None
    explorer.position = 0
    assert torch.equal(explorer.delta(), before)


def test_the_overridden_position_stays_within_the_text():
    explorer = TokenExplorer("ab..")
    explorer.position = 4
    explorer.tokens = "aß"
    assert explorer.position == 2
    for bad in (3, -1, 1.0):
        with pytest.raises(ValueError, match=r"^position: expected a whole number from 0 to 2"):
            explorer.position = bad
    explorer.set_state({"tokens": "abc", "position": 3})    # in one message from the browser
    assert explorer.value["tokens"] == "abc"
    assert explorer.position == 3


def test_the_still_of_the_token_explorer_shows_delta_gate_and_state():
    explorer = TokenExplorer("a.b", letter_delta=2.0, noise_delta=0.5)
    step, gate, state, _ = explorer._figure().axes
    delta = explorer.delta()
    tops = [bar.get_y() + bar.get_height() for bar in step.patches]
    assert tops == pytest.approx(delta.tolist())
    heights = [bar.get_height() for bar in gate.patches]
    assert heights == pytest.approx((1 - torch.exp(-delta)).tolist())
    assert torch.equal(torch.from_numpy(state.images[0].get_array().data), explorer.states().T)
    assert [label.get_text() for label in state.get_yticklabels()] == ["noise", "a", "b"]


# RecallExplorer.

@pytest.mark.parametrize(("d_state", "pairs", "query"), [(2, 64, 5), (8, 24, 1), (64, 3, 3)])
def test_the_recall_explorer_reads_a_sum_of_outer_products(d_state, pairs, query):
    explorer = RecallExplorer(d_state, pairs, query)
    keys, values, state, overlaps, scores, correct = explorer.compute()
    for vectors in (keys, values):
        assert torch.allclose(vectors.norm(dim=1), torch.ones(pairs, dtype=torch.float64))
    expected = sum(torch.outer(value, key) for key, value in zip(keys, values, strict=True))
    assert torch.allclose(state, expected)
    assert overlaps[query - 1] == pytest.approx(1)          # nothing decays
    assert torch.allclose(values @ (expected @ keys[query - 1]), scores[:pairs])
    read = values @ expected @ keys.T                       # (value, query)
    assert (read.argmax(0) == torch.arange(pairs)).sum() >= correct[pairs - 1]
    assert f"{correct[pairs - 1]} of {pairs} answers are correct." in explorer.caption


def test_recall_improves_with_the_state_dimension():
    correct = [RecallExplorer(d_state).compute().correct for d_state in (2, 4, 8, 16, 64)]
    with_all_pairs = [int(counts[-1]) for counts in correct]
    assert with_all_pairs == sorted(with_all_pairs)
    assert with_all_pairs[0] < 8
    assert with_all_pairs[-1] == 64
    assert all(counts[1] == 2 for counts in correct)


def test_the_caption_of_the_recall_explorer_says_whether_the_query_is_answered_correctly():
    assert RecallExplorer(64, 1).caption == (
        "State dimension N = 64, 1 pair stored. Query 1 is answered correctly, by a margin of "
        "0.77. Over all queries, 1 of 1 answers are correct.")
    explorer = RecallExplorer(2, 64, 5)
    scores = explorer.compute().scores
    best = int(scores.argmax())
    assert explorer.caption.startswith(
        "State dimension N = 2, 64 pairs stored, too many for exact recall. Query 5 is answered "
        f"incorrectly: answer {best + 1} scores {scores[best] - scores[4]:.2f} higher. ")


def test_the_query_is_a_pair_that_is_stored():
    explorer = RecallExplorer(pairs=10, query=10)
    explorer.pairs = 4
    assert explorer.value == {"d_state": 8, "pairs": 4, "query": 4}
    with pytest.raises(ValueError, match=r"^query: expected a whole number from 1 to 4, got 5"):
        explorer.query = 5
    explorer.set_state({"pairs": 30, "query": 30})          # in one message from the browser
    assert explorer.query == 30


def test_the_still_of_the_recall_explorer_shows_what_it_computes():
    explorer = RecallExplorer(4, 10, 3)
    result = explorer.compute()
    keys, answers, every = explorer._figure().axes
    assert [bar.get_height() for bar in keys.patches] == pytest.approx(result.overlaps.tolist())
    assert [bar.get_height() for bar in answers.patches] == pytest.approx(result.scores.tolist())
    blue, orange = map(to_rgba, plots.style.COLOURS[:2])
    assert [bar.get_facecolor() for bar in keys.patches] == [
        blue if pair == explorer.query else orange for pair in range(1, 11)]
    assert answers.lines[0].get_xdata() == [3]
    assert answers.lines[1].get_ydata() == pytest.approx([max(
        score for i, score in enumerate(result.scores.tolist()) if i != 2)])
    assert every.lines[1].get_ydata() == pytest.approx([10 * int(result.correct[9])])
    assert list(every.lines[2].get_xdata()) == [4, 4]


# DualityExplorer.

@pytest.mark.parametrize("size", [1, 3, 4, 16])
def test_the_entries_that_each_step_lights_are_those_from_which_the_mask_follows(size):
    explorer = DualityExplorer(0.7, size)
    within, added, between, entering = (torch.from_numpy(plots.lit_entries(16, size, step))
                                        for step in (1, 2, 3, 4))
    mask = explorer.mask()
    assert torch.equal(within | entering, mask > 0)
    assert not (within & entering).any()
    ends = range(size - 1, 15, size)
    assert added.any(1).nonzero()[:, 0].tolist() == list(ends)
    assert between.nonzero().tolist() == [[t, s] for t in ends for s in ends if s <= t]
    for t, s in entering.nonzero().tolist():                # column · number · row
        end, start = s // size * size + size - 1, t // size * size
        assert added[end, s]
        assert between[start - 1, end]
        product = mask[t, start - 1] * mask[start - 1, end] * mask[end, s]
        torch.testing.assert_close(product, mask[t, s])


def test_the_duality_explorer_counts_in_words():
    explorer = DualityExplorer(0.5, 4, 1)
    assert explorer.caption == "Step 1, within chunks: 40 of 136 entries, all at once."
    explorer.step = 2
    assert "12 weights, the least 0.125." in explorer.caption
    explorer.step = 3
    assert "3 to hand on" in explorer.caption
    assert "0.0625 of the state" in explorer.caption
    explorer.step = 4
    assert "96 of 136 entries" in explorer.caption
    explorer.chunk_size = 16                                # one chunk: masked attention
    assert "0 of 136 entries" in explorer.caption
    explorer.step = 0
    assert explorer.caption == ("Chunks of 16: 1 in 16 steps. Of step 1, 3.05e-05 is left at step "
                                "16.")


# ScanStepper.

def test_the_scan_stepper_counts_combine_operations_and_complete_states():
    stepper = ScanStepper("Blelloch", length=8)
    assert stepper.caption == ("Blelloch, level 5 of 5: 11 of 11 combine operations done, 8 of 8 "
                               "states complete.")
    stepper.level = 3
    assert "level 3 of 5: 7 of 11 combine operations done, 4 of 8 states" in stepper.caption
    stepper.order = "Hillis-Steele"
    assert "Hillis-Steele, level 3 of 3: 17 of 17 combine operations" in stepper.caption
    assert "17 of 17 combine operations done, 8 of 8 states complete" in stepper.caption
    stepper.length = 4                                      # which has no level 3
    assert "level 2 of 2: 5 of 5 combine operations done, 4 of 4 states" in stepper.caption
    stepper.set_state({"length": 5, "level": 0})            # in one message from the browser
    assert "level 0 of 3: 0 of 8 combine operations done, 1 of 5 states" in stepper.caption
    stepper.set_state({"order": "Blelloch", "length": 16, "level": 4})
    assert (stepper.value, stepper.message) == (
        {"order": "Blelloch", "length": 16, "level": 4}, "")
    stepper.length = 5
    stepper.order = "sequential"
    stepper.level = 2
    assert "level 2 of 4: 2 of 4 combine operations done, 3 of 5 states" in stepper.caption
    assert stepper.value == {"order": "sequential", "length": 5, "level": 2}
    with pytest.raises(ValueError, match=r"^level: expected a whole number from 0 to 4, got 5"):
        stepper.level = 5


# ShapeExplorer.

def test_the_shapes_are_those_of_the_scan():
    explorer = ShapeExplorer(3, 5, 4, 2)
    arrays = {name: torch.rand(shape) for name, shape in explorer.shapes().items()}
    y, last_state = selective_scan(*(arrays[name] for name in ("x", "Δ", "A", "B", "C")),
                                   return_last_state=True)
    assert y.shape == arrays["y"].shape
    assert last_state.shape == arrays["h"][:, -1].shape
    assert torch.exp(torch.einsum("bld,dn->bldn", arrays["Δ"], arrays["A"])).shape == (
        arrays["exp(ΔA)"].shape)
    assert explorer.caption == (
        "x, Δ and y have the shape (3, 5, 4), B and C (3, 5, 2), A (4, 2). exp(ΔA) and h have "
        "(3, 5, 4, 2): 120 values over all steps. The state after one step has 24, and x has 60.")


# StabilityExplorer.

def test_the_stability_explorer_says_by_which_rule_the_state_decays():
    explorer = StabilityExplorer(-0.5, 1.5)
    assert explorer.caption == (
        "Δλ = −0.50 + 1.50i: the exact mode decays. |Ā| by rule: Euler 1.58 (grows), "
        "backward Euler 0.471 (decays), bilinear 0.728 (decays), zero-order hold 0.607 (decays).")
    explorer.real, explorer.imaginary = 1.5, -2
    assert "1.50 − 2.00i: the exact mode grows" in explorer.caption
    assert "backward Euler 0.485 (decays)" in explorer.caption
    explorer.real, explorer.imaginary = 0, 0
    assert explorer.caption.count("stays constant") == 5
    explorer.real = 1                                       # where backward Euler divides by 0
    assert "backward Euler 1e+09 (grows)" in explorer.caption
    assert explorer.value == {"real": 1, "imaginary": 0}


# KernelExplorer.

@pytest.mark.parametrize(("step", "decay", "angle", "input"), [
    (0, 0.85, 40, "EEG"), (31, 1, 0, "step"), (9, 0.5, 180, "impulse"), (20, 0, 90, "EEG")])
def test_the_kernel_explorer_computes_a_loop_and_a_sum(step, decay, angle, input):
    x, kernel, products, output, state = KernelExplorer(step, decay, angle, input).compute()
    A_bar, h = cmath.rect(decay, math.radians(angle)), 0
    for s, x_s in enumerate(x[:step + 1].tolist()):
        h = A_bar * h + x_s
        assert kernel[s].item() == pytest.approx((A_bar**s).real, abs=1e-12)
        assert products[s].item() == pytest.approx((A_bar**(step - s)).real * x_s, abs=1e-12)
        assert state[s].item() == pytest.approx(h, abs=1e-12)
    assert len(products) == step + 1
    assert output.tolist() == pytest.approx(state.real.tolist(), abs=1e-12)
    assert products.sum().item() == pytest.approx(h.real, abs=1e-12)


def test_the_caption_of_the_kernel_explorer_says_both_results():
    explorer = KernelExplorer(step=9, decay=0.5, angle=0, input="impulse")
    assert explorer.caption == (                                    # 0.5⁵ = 0.03125
        "Step 9. Convolution: the 10 products sum to 0.031. Recurrence: the state is "
        "0.031 + 0.000i, and its real part is 0.031.")
    explorer.step, explorer.angle = 6, 60                           # 0.5² at 120°
    assert "to −0.125. Recurrence: the state is −0.125 + 0.217i," in explorer.caption
    explorer.angle, explorer.step = 90, 5                           # 0.5 at 90°: no −0.000
    assert "to 0.000. Recurrence: the state is 0.000 + 0.500i," in explorer.caption
    explorer.input, explorer.step = "EEG", 0
    assert "Convolution: the only product is −0.330." in explorer.caption


def test_the_still_of_the_kernel_explorer_shows_what_it_computes():
    explorer = KernelExplorer(step=12)
    result = explorer.compute()
    *panels, plane = explorer._figure().axes
    drawn = [[bar.get_height() for bar in panel.containers[0]] for panel in panels]
    expected = (result.x, result.kernel[:13].flip(0), result.products, result.output)
    for heights, values in zip(drawn, expected, strict=True):
        assert heights == pytest.approx(values.tolist())
    assert [bar.get_alpha() for bar in panels[0].containers[0]] == 13 * [None] + 19 * [0.3]
    now = plane.lines[-1]
    assert complex(*now.get_xdata(), *now.get_ydata()) == pytest.approx(result.state[12].item())


# RooflineExplorer.

def test_the_roofline_explorer_counts_bytes_and_exponentials():
    explorer = RooflineExplorer()
    assert 950 < explorer.estimate().bytes < 1050
    assert explorer.caption == (
        "Each step and channel moves 976 bytes and computes 16 exponentials. Lower bounds on the "
        "time: 5.12 ms for memory traffic, 0.0963 ms for exponentials. The scan is memory-bound.")
    assert explorer.estimate().rate < explorer.estimate(0).rate / 50
    explorer.passes, explorer.dtype = 0, "bfloat16"
    assert explorer.estimate().bytes == 8
    assert explorer.caption.endswith("The scan is compute-bound.")


# StateExplorer.

def test_the_state_explorer_draws_the_states_of_the_model(code_model):
    explorer = StateExplorer(LINE, layer=1, channel=7, model=code_model)
    trace = trace_states(code_model, torch.tensor(list(LINE.encode())))[1]
    axes = explorer._figure().axes
    delta, norm, decay, h = (torch.from_numpy(ax.images[0].get_array().data) for ax in axes)
    assert torch.allclose(delta, trace.delta.T)
    assert torch.allclose(norm, trace.norm.T / trace.norm.T.amax(1, keepdim=True))
    assert torch.allclose(decay, trace.decay[:, 7].T)
    assert torch.allclose(h, trace.h[:, 7].T / trace.h[:, 7].abs().max())
    assert [ax.lines[0].get_ydata() for ax in axes[:2]] == [[7, 7], [7, 7]]
    byte = int(trace.delta[:, 7].argmax())
    assert f"Δ is largest at byte {byte}, {LINE[byte]!r}" in explorer.caption


COLOUR_LIMITS = {"delta": (1e-4, 1), "norm": (0, 1), "decay": (0, 1), "h": (-1, 1)}


def test_the_state_explorer_follows_a_model_that_is_trained_on():
    model = MambaLM(MambaConfig(256, 8, n_layer=1))
    explorer = StateExplorer(model=model)
    before = explorer.compute().delta
    with torch.no_grad():
        model.layers[0].mixer.dt_proj.bias += 1
    assert (explorer.compute().delta > before).all()


@pytest.mark.parametrize("how", ["Python", "browser"])
def test_settings_that_a_model_fails_on_go_back_to_those_that_are_shown(how):
    model = MambaLM(MambaConfig(256, 8, n_layer=1))
    explorer = StateExplorer("before", model=model)
    before = explorer.get_state()
    model.embedding.weight.data.fill_(torch.nan)
    for text in ("after", "again"):
        if how == "browser":
            explorer.set_state({"text": text, "channel": 3})
            assert explorer.message.startswith("x: expected finite numbers")
        else:
            with pytest.raises(ValueError, match=r"^x: expected finite numbers"):
                explorer.text = text
        assert explorer.get_state() == {**before, "message": explorer.message}
    model.embedding.weight.data.fill_(1.0)
    explorer.text = "after"
    assert explorer.maps["text"] == explorer.text == "after"


def test_the_browser_gets_the_maps_in_255_levels(code_model):
    explorer = StateExplorer(LINE, model=code_model)
    explorer.set_state({"text": LINE[:9], "layer": 1, "channel": 7})
    trace = trace_states(code_model, torch.tensor(list(LINE[:9].encode())))[1]
    assert torch.allclose(explorer.compute().delta, trace.delta.T)
    for name, values in explorer.compute()._asdict().items():
        low, high = COLOUR_LIMITS[name]
        levels = torch.frombuffer(bytearray(explorer.maps[name]), dtype=torch.uint8)
        fraction = levels.view(values.shape) / 254
        if name == "delta":
            low, high, values = math.log10(low), math.log10(high), values.log10()
        read = low + fraction * (high - low)
        assert (read - values.clamp(low, high)).abs().max() < 0.501 * (high - low) / 254
    assert explorer.maps.items() >= explorer.value.items()
    expected = StateExplorer(LINE[:9], 1, 7, model=code_model)
    assert (explorer.maps, explorer.caption) == (expected.maps, expected.caption)


def test_levels_clamp_what_is_off_the_scale_and_mark_nan():
    values = torch.tensor([-math.inf, -2, -1, 0, 0.25, 1, 7, math.inf, math.nan])
    assert [*_levels(values, -1, 1)] == [0, 0, 0, 127, 159, 254, 254, 254, 255]


def test_a_new_text_is_answered_without_drawing_a_figure(code_model, monkeypatch):
    explorer = StateExplorer(LINE, model=code_model)
    monkeypatch.setattr(plots, "layer_states", None)
    explorer.text, explorer.layer, explorer.channel = "x = 1", 1, 9
    assert explorer.maps.items() >= {"text": "x = 1", "layer": 1, "channel": 9}.items()


def test_python_answers_in_one_thread_and_restores_the_number(code_model, monkeypatch):
    explorer, before, used = StateExplorer(LINE, model=code_model), torch.get_num_threads(), []
    monkeypatch.setattr(StateExplorer, "_update", lambda self: used.append(
        torch.get_num_threads()) or {})
    torch.set_num_threads(2)
    try:
        explorer.channel = 1
        assert used == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_model_of_anything_but_bytes_is_refused():
    with pytest.raises(ValueError, match=r"^model: expected a MambaLM of 256 bytes, got str"):
        StateExplorer(model="mine")


@pytest.mark.parametrize("layers", ["MA", "4", "6M", "MF", "L"])
def test_a_model_of_other_layers_is_refused(layers):
    model = MambaLM(MambaConfig(256, 16, layers=layers))
    with pytest.raises(ValueError, match=r"^model: expected a MambaLM of Mamba layers only, got "):
        StateExplorer(model=model)


def rows_lit(figure, ax):
    """The numbers beside the rows of a heat map of one column, by whether their row is lit."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba()).astype(int)[::-1, :, :3]
    across = round(ax.transAxes.transform((0.5, 0.5))[0])
    found = {}
    for label in ax.get_yticklabels():
        down = ax.transData.transform((0, label.get_position()[1]))[1]
        if ax.bbox.y0 < down < ax.bbox.y1:
            highest = ax.images[0].to_rgba(np.array([[1.0]]), bytes=True)[0, 0, :3]
            found[int(label.get_text())] = bool(abs(pixels[int(down), across] - highest).max() < 9)
    return found


@pytest.mark.parametrize("n", [0, 5, 10])
def test_a_row_of_the_still_is_lit_where_its_number_says(code_model, n, monkeypatch):
    explorer = StateExplorer("x", channel=200, model=code_model)
    one = torch.zeros(16, 1)
    one[n] = 1
    maps = StateMaps(torch.full((16, 1), 1e-4), torch.zeros(16, 1), one, one)
    monkeypatch.setattr(explorer, "compute", lambda: maps)
    figure = explorer._figure()
    for ax in figure.axes[2:4]:
        lit = rows_lit(figure, ax)
        assert len(lit) > 2
        assert [number for number, is_lit in lit.items() if is_lit] == [n]
