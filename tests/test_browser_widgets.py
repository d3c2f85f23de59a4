"""The explorers' JavaScript in a browser, on a page with no kernel and no server: what it computes
is what the library defines, and each answers to hand and key in light and in dark."""

import base64
import json
from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from PIL import Image

from minimamba.course import widgets
from minimamba.course.plots.states import SHOWN
from minimamba.course.widgets import kernel_explorer
from minimamba.course.widgets.browser_explorer import MIME
from minimamba.course.widgets.delta_explorer import INPUTS, LAGS
from minimamba.course.widgets.python_explorer import PythonExplorer
from minimamba.course.widgets.scan_stepper import ORDERS
from minimamba.scan import associative

pytestmark = pytest.mark.browser
# A model as a page without a kernel has it: what is set is told to those who asked.
PAGE = """
<!doctype html><meta charset="utf-8"><body data-theme="light"><div id="here"></div><script>
class Model {
    constructor(state) { this.state = state; this.heard = {}; this.saves = 0; }
    get(name) { return this.state[name]; }
    set(name, value) {
        const changed = this.state[name] !== value;
        this.state[name] = value;
        if (changed) (this.heard["change:" + name] ?? []).forEach((f) => f());
    }
    on(event, f) { (this.heard[event] ??= []).push(f); }
    save_changes() { this.saves += 1; }
}
async function show(text, state) {
    window.module = await import(URL.createObjectURL(new Blob([text], {type: "text/javascript"})));
    window.model = new Model(state);
    window.gone = module.default.render({model, el: document.getElementById("here")});
}
/** What a kernel sends: bytes, of which `encoded` made text, are a view of a larger buffer. */
const decoded = (sent) => JSON.parse(sent, (_, value) => {
    if (typeof value?.bytes !== "string") return value;
    const all = Uint8Array.from(`.${atob(value.bytes)}`, (c) => c.charCodeAt(0));
    return new DataView(all.buffer, 1);
});
</script>"""


@pytest.fixture
def show(browser):
    """A page with the widget in it, drawn from what a notebook saves of it, or, where that needs
    Python, from what a kernel sends."""
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    wrong = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def shown(widget):
        page.set_content(PAGE)
        if isinstance(widget, PythonExplorer):
            own = {name: value for name, value in widget.get_state().items()
                   if not name.startswith("_")}
            page.evaluate("([text, sent]) => show(text, decoded(sent))",
                          [widget._esm, encoded(own)])
        else:
            saved = json.loads(json.dumps(widget._repr_mimebundle_()[0][MIME]))
            page.evaluate("([text, state]) => show(text, state)",
                          [widgets.module(saved["module"]), saved["state"]])
        return page

    yield shown
    page.close()
    assert wrong == []


def encoded(sent):
    return json.dumps(sent, default=lambda value: {"bytes": base64.b64encode(value).decode()})


def words(page):
    caption = page.locator(".caption").inner_text()
    assert page.locator("svg").get_attribute("aria-label") == caption
    return caption


def values(page):
    return page.evaluate("Object.fromEntries(Object.entries(model.state).filter("
                         "([name]) => name != 'recordings'))")


@pytest.mark.parametrize(("delta", "rate", "input"), [
    (0.01, 1.0, "neuron"), (1e-4, 0.1, "EEG"), (10.0, 10.0, "step"), (0.3, 2.0, "EEG")])
def test_the_delta_explorer_computes_what_the_library_defines(show, delta, rate, input):
    explorer = widgets.DeltaExplorer(delta, rate, input)
    page, seen = show(explorer), explorer.seen()
    found = page.evaluate("""([delta, rate, input]) => {
        const x = module.unpack(model.get("recordings")[input]);
        const {pole, state, shares, response} = module.decay(x, delta, rate);
        return {pole, state: [...state], shares, response};
    }""", [delta, rate, input])
    assert found["pole"] == pytest.approx(seen.pole, abs=1e-12)
    assert found["shares"] == pytest.approx(seen.shares, abs=1e-9)
    assert found["response"] == pytest.approx((seen.kernel[:LAGS] / seen.kernel[0]).tolist(),
                                              abs=1e-9)
    x = INPUTS[input]().x                   # sent in 10,000 levels; the state is a mean of it
    off = torch.tensor(found["state"], dtype=torch.float64) - seen.state
    assert off.abs().max() < (x.max() - x.min()) / 9999 / 2 + 2e-5
    assert words(page) == explorer.caption


@pytest.mark.parametrize("order", ORDERS)
def test_the_scan_stepper_joins_as_the_library_does(show, order):
    page = show(widgets.ScanStepper(order))
    for length in range(2, 17):
        levels = ORDERS[order](length)
        found, covered = page.evaluate("""([order, length]) => {
            const levels = module.ORDERS[order](length);
            return [levels, module.covered(length, levels)];
        }""", [order, length])
        assert found == [[list(join) for join in level] for level in levels]
        assert covered == [[list(place) for place in row]
                           for row in associative.covered(length, levels)]
        for level in range(len(levels) + 1):
            said = page.evaluate("given => module.caption(...given)", [order, length, level])
            assert said == widgets.ScanStepper(order, length, level).caption


@pytest.mark.parametrize("real", [-4.0, -2.0, -0.55, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("imaginary", [-3.0, 0.0, 1.5])
def test_the_stability_explorer_has_the_poles_of_the_library(show, real, imaginary):
    explorer = widgets.StabilityExplorer(real, imaginary)
    page = show(explorer)
    found = page.evaluate("given => module.poles(...given)", [real, imaginary])
    # Near a pole of the rule the smallest rounding counts.
    assert [complex(*pole) for pole in found] == pytest.approx([*explorer.poles().values()],
                                                               rel=1e-6, abs=1e-12)
    powers = page.evaluate("module.sequence([0.6, 0.7])")
    assert powers == pytest.approx([(complex(0.6, 0.7) ** n).real for n in range(len(powers))])
    assert words(page) == explorer.caption


@pytest.mark.parametrize("given", [{}, {"passes": 0, "dtype": "bfloat16"}, {"passes": 1},
                                   {"passes": 16, "d_state": 128}, {"d_state": 1}])
def test_the_roofline_explorer_counts_as_python_does(show, given):
    explorer = widgets.RooflineExplorer(**given)
    page = show(explorer)
    found = page.evaluate("""() => module.floors(model.get("machine"),
        model.get("widths")[model.get("dtype")], model.get("d_state"), model.get("passes"))""")
    assert found == pytest.approx(explorer.floors()._asdict())
    assert words(page) == explorer.caption


@pytest.mark.parametrize("input", kernel_explorer.INPUTS)
@pytest.mark.parametrize(("place", "decay", "turn"), [(0, 0.85, 40), (14, 0.5, 0), (31, 1.0, 180),
                                                      (9, 0.95, 90), (20, 0.0, 65)])
def test_the_kernel_explorer_makes_an_output_both_ways_as_the_library_does(show, place, decay, turn,
                                                                           input):
    explorer = widgets.KernelExplorer(place, decay, turn, input)
    page, seen = show(explorer), explorer.seen()
    x, found = page.evaluate("""([place, decay, turn, input]) => {
        const x = module.unpack(model.get("inputs")[input]);
        return [x, module.both(x, place, decay, turn)];
    }""", [place, decay, turn, input])
    assert x == seen.x.tolist()
    for name in ("kernel", "products"):
        assert found[name] == pytest.approx(getattr(seen, name).tolist(), abs=1e-12)
    assert [complex(*h) for h in found["state"]] == pytest.approx(seen.state.tolist(), abs=1e-12)
    assert [found["sum"]] == pytest.approx([seen.output[place].item()], abs=1e-12)
    assert complex(*found["faded"]) + x[place] == pytest.approx(seen.state[place].item(), abs=1e-12)
    assert words(page) == explorer.caption


def test_a_hand_slides_the_kernel(show):
    page = show(widgets.KernelExplorer(input="impulse"))
    box = page.locator(".hand").bounding_box()
    step = box["width"] / 32.2
    page.mouse.move(box["x"] + 10.6 * step, box["y"] + 0.6 * box["height"])
    page.mouse.down()
    assert words(page) == widgets.KernelExplorer(10, input="impulse").caption
    for place, wanted in ((21, 21), (99, 31), (-5, 0), (4, 4)):     # beyond the ends too
        page.mouse.move(box["x"] + (place + 0.6) * step, box["y"], steps=3)
        assert words(page) == widgets.KernelExplorer(wanted, input="impulse").caption
    page.mouse.up()
    page.mouse.move(box["x"] + 20 * step, box["y"] + 9)             # let go: it stays
    assert page.get_by_label("place t").input_value() == "4"
    band = page.locator(".now").first.bounding_box()
    assert band["x"] + band["width"] / 2 == pytest.approx(box["x"] + 4.6 * step, abs=0.5)


def test_what_comes_after_the_place_is_pale_and_has_no_product(show):
    page = show(widgets.KernelExplorer(place=5, decay=1, turn=0, input="step"))
    heights, opacity = (page.locator(".bar").evaluate_all(
        f"all => all.map((bar) => Number(bar.getAttribute('{name}')))")
        for name in ("height", "fill-opacity"))
    assert opacity == 4 * (6 * [1] + 26 * [0.3])
    x, kernel, products, output = (heights[32 * row:32 * row + 32] for row in range(4))
    for values, there in ((x, range(4, 32)), (kernel, range(6)), (products, (4, 5)),
                          (output, range(4, 32))):
        assert [step for step, height in enumerate(values) if height] == [*there]
    assert products[4:6] == x[4:6]                                  # one scale for both
    assert output[31] == pytest.approx(28 * output[4])


@pytest.mark.parametrize("given", [(2, 64, 5), (3, 1, 1), (8, 24, 24), (17, 40, 12), (64, 64, 33)])
def test_the_recall_explorer_recalls_as_the_library_does(show, given):
    explorer = widgets.RecallExplorer(*given)
    page, seen = show(explorer), explorer.seen()
    found = page.evaluate(
        "given => module.recall(module.unpack(model.get('drawn')), ...given)", [*given])
    assert found["overlaps"] == pytest.approx(seen.overlaps.tolist(), abs=1e-12)
    assert found["scores"] == pytest.approx(seen.scores.tolist(), abs=1e-12)
    assert found["right"] == seen.right.tolist()
    assert words(page) == explorer.caption
    assert page.locator(".overlap").count() == given[1] - 1
    assert page.locator(".score").count() == 126


@pytest.mark.parametrize(("tokens", "letter", "noise", "place", "there"), [
    ("..a...b..c....", 3.0, 0.01, 0, 1.0), ("ab.ba", 0.7, 0.2, 2, 10.0), (".", 1.0, 1e-3, 1, 0.5),
    ("Zaäzπ.ж", 10.0, 1e-3, 7, 1e-3), ("abcdefghijklmnopqrstuvwx", 0.05, 5.0, 24, 2.0)])
def test_the_token_explorer_holds_what_the_library_does(show, tokens, letter, noise, place, there):
    explorer = widgets.TokenExplorer(tokens, letter, noise)
    explorer.place, explorer.there = place, there
    page = show(explorer)
    found = page.evaluate("given => module.states(...given)", [*explorer.value.values()])
    assert found["kinds"] == explorer.kinds
    assert found["delta"] == explorer.delta().tolist()
    assert found["gate"] == pytest.approx((1 - torch.exp(-explorer.delta())).tolist(), abs=1e-12)
    held = explorer.states()
    assert (torch.tensor(found["states"], dtype=torch.float64) - held).abs().max() < 1e-12
    assert words(page) == explorer.caption
    assert page.locator(".share").count() == held.numel()


def test_what_is_typed_is_cleaned_and_drawn(show):
    page = show(widgets.TokenExplorer("a."))
    line, place = page.get_by_label("tokens"), page.get_by_label("by hand, place")
    place.press("End")
    assert place.get_attribute("aria-valuetext") == "2: ."
    for typed, kept in (("x y!3..<b>" + 40 * "c", "xy..b" + 19 * "c"), ("q", "q"), ("", "."),
                        ("7 ?", "."), ("aß.𝔸", "aß.𝔸")):
        line.fill(typed)
        assert values(page)["tokens"] == kept
        assert line.input_value() == typed                  # no letter is moved under the hand
        assert words(page).startswith(f"After {kept} the state is made of: ")
        assert int(place.get_attribute("max")) == len(kept)
        line.blur()
        assert line.input_value() == kept
    assert values(page)["place"] == 1                       # where it was last cut off
    page.evaluate("""() => { model.set("place", 4); model.set("tokens", "b"); }""")
    assert line.input_value() == "b"
    assert page.locator(".step.red").count() == 0


def test_fewer_pairs_ask_for_one_that_is_there(show):
    page = show(widgets.RecallExplorer(8, 30, 30))
    page.get_by_label("pairs, n").press("Home")
    assert {name: values(page)[name] for name in ("numbers", "pairs", "asked")} == {
        "numbers": 8, "pairs": 1, "asked": 1}
    assert words(page) == widgets.RecallExplorer(8, 1).caption
    assert page.get_by_label("pair asked for, j").get_attribute("max") == "1"


def test_a_hand_moves_the_point_of_every_plane(show):
    page = show(widgets.StabilityExplorer())
    planes = page.locator(".hand").all()
    for plane, share, wanted in ((planes[0], (0.5, 0.5), (-1.0, 0.0)),
                                 (planes[2], (0.0, 1.0), (-4.0, -3.0)),
                                 (planes[3], (2.0, 0.25), (2.0, 1.5))):
        box = plane.bounding_box()
        page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + share[0] * box["width"], box["y"] + share[1] * box["height"],
                        steps=4)
        page.mouse.up()
        assert (values(page)["real"], values(page)["imaginary"]) == pytest.approx(wanted)
        page.mouse.move(box["x"] + 5, box["y"] + 5)             # let go: it stays
        assert words(page) == widgets.StabilityExplorer(*wanted).caption
    assert page.get_by_label("Re Δλ").input_value() == "2"


@pytest.mark.parametrize("x", [0, 0.00001234, 0.000987, 0.0693147, 0.5, 1, 9.996, 69.3, 999.6,
                               6931.47, 123456, -2.5])
def test_numbers_are_written_as_python_writes_them(show, x):
    page = show(widgets.ScanStepper(length=2))
    for digits in (3, 4):
        assert page.evaluate("given => module.general(...given)", [x, digits]) == f"{x:.{digits}g}"


@pytest.fixture(scope="module")
def answered_by_python():
    return {"hippo": widgets.HippoExplorer(), "state": widgets.StateExplorer()}


@pytest.mark.parametrize(("name", "moves"), [
    ("hippo", [("numbers in the state", "ArrowRight", "size", 35, "35"),
               ("now, s", "ArrowLeft", "moment", 5.95, "5.95")]),
    ("state", [("layer", "End", "layer", 1, "1"), ("channel", "End", "channel", 255, "255")])])
def test_what_is_set_is_told_to_python(show, answered_by_python, name, moves):
    page = show(answered_by_python[name])
    for theme in ("light", "dark"):
        page.evaluate("theme => document.body.dataset.theme = theme", theme)
        for label, key, setting, value, said in moves:
            saves = page.evaluate("model.saves")
            handle = page.get_by_role("slider", name=label)
            handle.focus()
            assert handle.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
            handle.press(key)
            assert page.evaluate("name => model.get(name)", setting) == pytest.approx(value)
            assert handle.get_attribute("aria-valuetext") == said
            assert page.evaluate("model.saves") == saves + 1
            page.evaluate("([name, value]) => model.set(name, value)",     # Python sets it back
                          [setting, answered_by_python[name].value[setting]])
            assert handle.get_attribute("aria-valuetext") != said


def test_what_a_state_looks_back_on_is_chosen_by_its_words(show, answered_by_python):
    page = show(answered_by_python["hippo"])
    assert page.get_by_role("radiogroup", name="it looks back on").inner_text().split("\n")[1:] == [
        "LegS, all of it", "LegT, 2 s", "FouT, 2 s"]
    page.get_by_label("LegS, all of it").press("ArrowRight")
    assert page.evaluate("model.get('measure')") == "legt"
    assert page.get_by_label("LegT, 2 s").is_checked()
    page.get_by_label("FouT, 2 s").check()
    assert page.evaluate("model.get('measure')") == "fout"


def test_the_picture_is_the_one_that_came_last_and_has_its_words(show, answered_by_python):
    page = show(answered_by_python["hippo"])
    image, said = page.get_by_role("img"), page.locator(".caption")
    shown = """async image => {
        await image.decode();
        const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
        return [image.src, bytes.length, image.naturalWidth];
    }"""
    first, size, width = image.evaluate(shown)
    assert (size, width) == (len(answered_by_python["hippo"].picture), 810)
    assert image.get_attribute("alt") == said.inner_text() == answered_by_python["hippo"].caption
    assert said.get_attribute("aria-live") == "polite"
    page.evaluate("""() => {
        window.let_go = [];
        URL.revokeObjectURL = (url) => let_go.push(url);
    }""")
    other = widgets.HippoExplorer(size=9).picture
    assert len(other) != size
    page.evaluate("""picture => {
        model.set("caption", 'a "b" <c> & d');
        model.set("picture", decoded(picture));
    }""", encoded(other))
    second, size, _ = image.evaluate(shown)
    assert size == len(other)
    assert image.get_attribute("alt") == said.inner_text() == 'a "b" <c> & d'
    # An address holds its picture in the page's memory until it is let go.
    assert page.evaluate("let_go") == [first]
    page.evaluate("gone()")
    assert page.evaluate("let_go") == [first, second]


def cells(bitmap, rows, columns):
    """The colours (rows, columns, 4) in the middle of its cells."""
    return np.array(bitmap.evaluate("""(bitmap, [rows, columns]) => {
        const {width, height} = bitmap;
        const {data} = bitmap.getContext("2d").getImageData(0, 0, width, height);
        const middles = (size, count) => Array.from({length: count}, (_, i) =>
            Math.floor((i + 0.5) * size / count));
        return middles(height, rows).map((y) => middles(width, columns).map((x) =>
            [...data.subarray(4 * (y * width + x), 4 * (y * width + x) + 4)]));
    }""", [rows, columns]))


def middle(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize(("text", "layer", "channel"), [
    ("  x = 'a'\n", 1, 216), (40 * "ab", 0, 255), ("#", 1, 0)])
def test_the_state_explorer_has_the_colours_of_its_still(show, text, layer, channel):
    explorer = widgets.StateExplorer(text, layer, channel)
    page, axes = show(explorer), explorer._figure().axes
    assert words(page) == explorer.caption
    bitmaps, letters = page.locator("canvas").all(), page.locator(".letter").all()
    assert "".join(letter.text_content() for letter in letters) == text.translate(SHOWN)
    for ax, bitmap in zip(axes, bitmaps, strict=True):
        image, = ax.images
        wanted = image.to_rgba(image.get_array(), bytes=True).astype(int)
        off = abs(cells(bitmap, *wanted.shape[:2]) - wanted)
        assert off.max() <= 14                              # straight between 16 of 256 colours,
        assert off.mean() < 1.5                             # and in 255 levels
        box = bitmap.bounding_box()
        for i, letter in enumerate(letters):
            assert middle(letter)[0] == pytest.approx(
                box["x"] + (i + 0.5) / len(text) * box["width"], abs=0.1)
    for bitmap, line in zip(bitmaps[:2], page.locator(".channel").all(), strict=True):
        box = bitmap.bounding_box()
        assert middle(line)[1] == pytest.approx(
            box["y"] + (channel + 0.5) / 256 * box["height"], abs=0.1)


def test_the_colours_of_the_state_explorer_are_told_in_numbers(show, answered_by_python):
    page, axes = show(answered_by_python["state"]), answered_by_python["state"]._figure().axes
    assert page.locator(".tick[text-anchor=start]").all_text_contents() == [
        "10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "10⁰", "0", "0.5", "1", "0", "0.5", "1",
        "−1", "−0.5", "0", "0.5", "1"]
    picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
    for ax, scale, bar in zip(axes, page.locator("linearGradient").all(),
                              page.locator("rect[fill^=url]").all(), strict=True):
        stops = [to_rgba(stop.get_attribute("stop-color")) for stop in scale.locator("stop").all()]
        wanted = ax.images[0].cmap(np.linspace(0, 1, len(stops)))
        assert np.array(stops) == pytest.approx(wanted, abs=2 / 255)
        box, across = bar.bounding_box(), int(middle(bar)[0])
        for end, y in ((wanted[0], box["y"] + box["height"] - 3), (wanted[-1], box["y"] + 2)):
            near = np.array(picture.getpixel((across, int(y)))) / 255
            assert near == pytest.approx(end[:3], abs=0.1)


def test_what_is_no_number_has_no_colour(show, answered_by_python):
    explorer = answered_by_python["state"]
    page, maps = show(explorer), explorer.maps
    page.evaluate("maps => model.set('maps', decoded(maps))",
                  encoded({**maps, "h": b"\xff\x7f" + maps["h"][2:]}))
    colours = cells(page.locator("canvas").last, 16, len(explorer.text))
    assert [*colours[0, 0]] == [0, 0, 0, 0]
    assert [*colours[0, 1]] == [247, 247, 247, 255]         # zero is white
    assert (colours[..., 3] == 255).sum() == colours[..., 3].size - 1


def test_the_states_are_drawn_when_they_come(show, answered_by_python):
    page, other = show(answered_by_python["state"]), widgets.StateExplorer("x", 1, 9)
    before = drawing(page)
    page.get_by_label("text").fill("x")
    assert drawing(page) == before                          # of what has not been computed yet
    page.evaluate("""sent => {
        const {caption, maps} = decoded(sent);
        model.set("caption", caption);
        model.set("maps", maps);
    }""", encoded({"caption": other.caption, "maps": other.maps}))
    assert words(page) == other.caption
    assert page.locator(".letter").all_text_contents() == ["x"]
    assert page.locator("text", has_text="layer").all_text_contents() == [
        "layer 1, all channels", "layer 1, channel 9"]


def test_what_is_typed_for_the_model_to_read_is_cleaned(show, answered_by_python):
    page = show(answered_by_python["state"])
    line = page.get_by_label("text")
    for typed, kept in (("é\tx = 'ü'" + 100 * "y", "x = ''" + 74 * "y"), ("a\nb~", "a\nb~"),
                        ("𝔸", " "), ("", " ")):
        line.fill(typed)
        assert page.evaluate("model.get('text')") == kept
        assert line.input_value() == typed                  # no letter is moved under the hand
        line.blur()
        assert line.input_value() == kept
    line.fill("üa")
    page.evaluate("model.set('text', 'b')")                 # Python sets another
    assert line.input_value() == "b"


# Of each explorer: something of its drawing that a move must change, and its controls.
DRAWN = {
    "KernelExplorer": (".bar", ["place t", "decay |Ā|", "turn of Ā in a step", "input x"]),
    "DeltaExplorer": (".state", ["Δ", "decay rate |A|", "input x"]),
    "ScanStepper": (".place.done", ["order", "length", "level"]),
    "StabilityExplorer": (".sequence", ["Re Δλ", "Im Δλ"]),
    "RooflineExplorer": (".bar", ["passes over the states", "numbers of a state",
                                  "kept in memory as"]),
    "RecallExplorer": (".overlap", ["numbers a channel, N", "pairs, n", "pair asked for, j"]),
    "TokenExplorer": (".step", ["tokens", "Δ at a letter", "Δ at noise", "by hand, place",
                                "Δ there"]),
}


def drawing(page):
    return page.locator("svg").inner_html()


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_explorer_answers_to_key_and_hand(show, name, theme):
    page = show(getattr(widgets, name)())
    page.evaluate("theme => document.body.dataset.theme = theme", theme)
    mark, labels = DRAWN[name]
    assert page.locator(mark).count()
    rows = page.locator(".row").all()
    assert [row.locator(":scope > :first-child").inner_text() for row in rows] == labels
    for row in rows:
        before, saves = drawing(page), page.evaluate("model.saves")
        control = row.locator("input:checked, input[type=range], input[type=text]")
        control.focus()
        assert control.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
        control.press("b" if control.get_attribute("type") == "text" else "ArrowRight")
        assert drawing(page) != before
        assert page.evaluate("model.saves") > saves
    handle = page.locator("input[type=range]").first
    box, before = handle.bounding_box(), drawing(page)
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert drawing(page) != before
    assert page.locator("svg").get_attribute("aria-label") == words(page)


@pytest.mark.parametrize("name", [*DRAWN, "StateExplorer"])
def test_what_is_written_stands_out_in_light_and_dark(show, name):
    page = show(getattr(widgets, name)())
    for theme in ("light", "dark"):
        page.evaluate("theme => document.body.dataset.theme = theme", theme)
        ground, *inks = page.evaluate("""() => {
            const root = document.querySelector(".minimamba-explorer");
            const look = getComputedStyle(root), texts = [...root.querySelectorAll("svg text")];
            return [look.backgroundColor, look.color,
                    ...texts.map((text) => getComputedStyle(text).fill)];
        }""")
        assert all(contrast(ground, ink) >= 4.5 for ink in inks)


def contrast(one, other):
    """As WCAG 2 defines it, of two colours rgb(r, g, b)."""
    def light(colour):
        parts = [int(part) / 255 for part in colour[4:-1].split(",")]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, bright = sorted([light(one), light(other)])
    return (bright + 0.05) / (dark + 0.05)


def of_many_tokens(place):
    explorer = widgets.TokenExplorer("abcdefghijklmnopqrstuvw.")
    explorer.place = place
    return explorer


@pytest.mark.parametrize("made", [
    *(getattr(widgets, name) for name in DRAWN), widgets.StateExplorer,
    lambda: widgets.StateExplorer(80 * "W"), lambda: widgets.RecallExplorer(2, 64, 64),
    lambda: widgets.RecallExplorer(64, 64, 10), lambda: of_many_tokens(1),
    lambda: of_many_tokens(24)])
def test_no_text_of_the_drawing_is_cut_off(show, made):
    page = show(made())
    assert page.evaluate("""() => {
        const frame = document.querySelector("svg").getBoundingClientRect();
        return [...document.querySelectorAll("svg text")].filter((text) => {
            const box = text.getBoundingClientRect();
            return box.width && (box.left < frame.left || box.right > frame.right
                || box.top < frame.top || box.bottom > frame.bottom);
        }).map((text) => text.textContent);
    }""") == []


@pytest.mark.parametrize("name", DRAWN)
def test_a_move_is_drawn_in_a_tenth_of_a_second(show, name):
    page = show(getattr(widgets, name)())
    times = page.evaluate("""async () => {
        const sliders = document.querySelectorAll("input[type=range]");
        const slider = sliders[sliders.length - 1];
        const frame = () => new Promise((done) => requestAnimationFrame(done));
        const times = [];
        for (let i = 0; i < 10; i++) {
            await frame();
            const start = performance.now();
            i % 2 ? slider.stepUp() : slider.stepDown();
            slider.dispatchEvent(new Event("input"));
            document.querySelector("svg").getBoundingClientRect();
            times.push(performance.now() - start);
        }
        return times.sort((a, b) => a - b);
    }""")
    print(f"{name}: {times[5]:.1f} ms")
    assert times[5] < 100


def test_another_scan_begins_before_its_first_level(show):
    page = show(widgets.ScanStepper())
    page.get_by_label("length").press("ArrowRight")
    assert values(page) == {"order": "Blelloch", "length": 9, "level": 0}
    assert words(page) == widgets.ScanStepper(length=9, level=0).caption
    level = page.get_by_role("slider", name="level")
    level.press("End")
    page.get_by_label("Hillis-Steele").check()
    assert values(page) == {"order": "Hillis-Steele", "length": 9, "level": 0}
    level.press("End")
    assert words(page) == widgets.ScanStepper("Hillis-Steele", 9).caption
    assert page.locator(".place.done").count() == 1 + 2 + 4 + 8 + 9


def test_what_python_sets_is_drawn(show):
    page = show(widgets.DeltaExplorer())
    page.evaluate("""() => { model.set("delta", 1.0); model.set("input", "EEG"); }""")
    assert words(page).startswith("The pole is 0.3679")
    assert page.get_by_label("EEG").is_checked()
    assert page.get_by_label("Δ").get_attribute("aria-valuetext") == "1"


@pytest.mark.parametrize(("says", "dark"), [
    ({"class": "vscode-light"}, False), ({"class": "vscode-dark"}, True),
    ({"class": "vscode-high-contrast"}, True),
    ({"class": "vscode-high-contrast vscode-high-contrast-light"}, False),
    ({"data-jp-theme-light": "true"}, False), ({"data-jp-theme-light": "false"}, True),
    ({"data-theme": "light"}, False), ({"data-theme": "dark"}, True)], ids=str)
def test_the_ground_is_that_of_the_page_whatever_the_system_has(show, says, dark):
    page = show(widgets.ScanStepper())
    page.emulate_media(color_scheme="light" if dark else "dark")
    page.evaluate("""says => {
        document.body.removeAttribute("data-theme");
        for (const [name, value] of Object.entries(says)) document.body.setAttribute(name, value);
    }""", says)
    explorer = page.locator(".minimamba-explorer")
    ground = explorer.evaluate("e => getComputedStyle(e).backgroundColor")
    assert ground == ("rgb(21, 24, 28)" if dark else "rgb(255, 255, 255)")
